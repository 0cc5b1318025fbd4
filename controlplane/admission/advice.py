"""What an object asks for and ambient never does: a manifest in, advice out.

Nothing here is wrong with the object: it is in force, and less of it than somebody who comes from
another data plane would expect (docs/protocol/admission.md AD-13).
"""

from collections.abc import Iterator

from controlplane.manifests.istio import PeerAuthentication
from controlplane.manifests.metadata import Manifest

_DISABLE = "DISABLE"


def advice(manifest: Manifest) -> Iterator[str]:
    """Yield one sentence, led by its field, for everything that has no effect."""
    match manifest:
        case PeerAuthentication():
            if manifest.mode == _DISABLE:
                yield f"spec.mtls.mode: {_NEVER_WITHOUT}"
            for port, mode in manifest.port_modes.items():
                if mode == _DISABLE:
                    yield f"spec.portLevelMtls[{port}].mode: {_NEVER_WITHOUT}"


_NEVER_WITHOUT = (
    "ztunnel cannot be told to send plaintext: DISABLE means the same as PERMISSIVE, and workloads "
    "of the mesh go on using mTLS with each other"
)
