"""Configuration as users wrote it, typed and trimmed to what the mesh rules read.

Documents come in (``reading``), values of the types in ``core``, ``gateway``, ``istio`` and
``mesh_config`` go out, or Problems. Pure: no files, no network.
"""
