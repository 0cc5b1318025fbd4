"""istiod-lite: a control plane for ambient service meshes.

Manifests enter at ``sources``, flow one way through the rules of ``mesh`` inside one ``dataflow``
graph, become ``model`` values, are turned into bytes by ``encode``, committed by ``snapshots`` and
streamed by ``xds``. ``docs/ARCHITECTURE.md`` has the picture; ``pyproject.toml`` holds the same
picture as import contracts.
"""

__version__ = "0.1.0"
