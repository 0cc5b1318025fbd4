"""Gateway API kinds."""

from typing import Final

import msgspec

from controlplane.manifests.metadata import Manifest
from controlplane.model.labels import LabelSelector

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"


class AllowedNamespaces(msgspec.Struct, frozen=True):
    """``allowedRoutes.namespaces``: ``origin`` is ``from`` ("" when absent)."""

    origin: str = ""
    selector: LabelSelector | None = None


class Listener(msgspec.Struct, frozen=True):
    """A listener; ``allowed`` None when ``allowedRoutes.namespaces`` is absent."""

    name: str
    port: int
    protocol: str
    allowed: AllowedNamespaces | None = None
    tls_mode: str = ""


class GatewayAddress(msgspec.Struct, frozen=True, gc=False):
    """An address of a Gateway; ``type`` as written, "" when absent."""

    type: str
    value: str


class ParametersReference(msgspec.Struct, frozen=True, gc=False):
    """``infrastructure.parametersRef``: an object in the Gateway's namespace."""

    group: str
    kind: str
    name: str


class Infrastructure(msgspec.Struct, frozen=True):
    """How what a Gateway is deployed as shall look; a map is None when it is absent."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    parameters: ParametersReference | None = None


class Gateway(Manifest, frozen=True, kw_only=True):
    """A Gateway; ``status_addresses`` say that it is ready."""

    class_name: str = ""
    listeners: tuple[Listener, ...] = ()
    addresses: tuple[GatewayAddress, ...] = ()
    status_addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: Infrastructure | None = None


class GatewayClass(Manifest, frozen=True, kw_only=True):
    """A class of Gateways and the controller that handles it."""

    controller_name: str = ""
