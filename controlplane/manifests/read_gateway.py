"""Gateway API kinds: raw JSON shape -> ``gateway`` manifests."""

from typing import Final

import msgspec

from controlplane.manifests import gateway
from controlplane.manifests.documents import Path
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import PortNumber, objects
from controlplane.manifests.read_metadata import RawObject
from controlplane.manifests.read_selectors import RawSelector, read_selector


class RawAllowedNamespaces(msgspec.Struct, rename="camel"):
    """``allowedRoutes.namespaces`` of a listener."""

    origin: str | None = msgspec.field(default=None, name="from")
    selector: RawSelector | None = None


class RawAllowedRoutes(msgspec.Struct, rename="camel"):
    """``allowedRoutes`` of a listener."""

    namespaces: RawAllowedNamespaces | None = None


class RawListenerTls(msgspec.Struct, rename="camel"):
    """``tls`` of a listener."""

    mode: str | None = None


class RawListener(msgspec.Struct, rename="camel"):
    """``listeners[]`` of a Gateway."""

    name: str
    port: PortNumber
    protocol: str
    allowed_routes: RawAllowedRoutes | None = None
    tls: RawListenerTls | None = None


class RawAddress(msgspec.Struct, rename="camel"):
    """An address of a Gateway."""

    type: str | None = None
    value: str | None = None


class RawParametersReference(msgspec.Struct, rename="camel"):
    """``infrastructure.parametersRef`` of a Gateway."""

    name: str
    group: str | None = None
    kind: str | None = None


class RawInfrastructure(msgspec.Struct, rename="camel"):
    """``infrastructure`` of a Gateway."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    parameters_ref: RawParametersReference | None = None


class RawGatewaySpec(msgspec.Struct, rename="camel"):
    """``spec`` of a Gateway."""

    gateway_class_name: str | None = None
    listeners: list[RawListener] | None = None
    addresses: list[RawAddress | None] | None = None
    infrastructure: RawInfrastructure | None = None


class RawGatewayStatus(msgspec.Struct, rename="camel"):
    """``status`` of a Gateway."""

    addresses: list[RawAddress | None] | None = None


class RawGateway(RawObject, rename="camel"):
    """A Gateway."""

    spec: RawGatewaySpec | None = None
    status: RawGatewayStatus | None = None


class RawGatewayClassSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a GatewayClass."""

    controller_name: str | None = None


class RawGatewayClass(RawObject, rename="camel"):
    """A GatewayClass."""

    spec: RawGatewayClassSpec | None = None


_ADDRESS: Final = RawAddress()


def read_gateway(raw: RawGateway, metadata: Metadata) -> gateway.Gateway:
    """Return the Gateway."""
    spec = raw.spec or RawGatewaySpec()
    status = raw.status or RawGatewayStatus()
    return gateway.Gateway(
        metadata=metadata,
        class_name=spec.gateway_class_name or "",
        listeners=tuple(
            _listener(listener, ("spec", "listeners", index))
            for index, listener in enumerate(spec.listeners or ())
        ),
        addresses=_addresses(spec.addresses),
        status_addresses=_addresses(status.addresses),
        infrastructure=_infrastructure(spec.infrastructure),
    )


def _infrastructure(raw: RawInfrastructure | None) -> gateway.Infrastructure | None:
    if raw is None:
        return None
    reference = raw.parameters_ref
    return gateway.Infrastructure(
        labels=raw.labels,
        annotations=raw.annotations,
        parameters=None
        if reference is None
        else gateway.ParametersReference(
            group=reference.group or "", kind=reference.kind or "", name=reference.name
        ),
    )


def _addresses(raw: list[RawAddress | None] | None) -> tuple[gateway.GatewayAddress, ...]:
    return tuple(
        gateway.GatewayAddress(type=address.type or "", value=address.value or "")
        for address in objects(raw, _ADDRESS)
    )


def _listener(raw: RawListener, path: Path) -> gateway.Listener:
    allowed = raw.allowed_routes.namespaces if raw.allowed_routes else None
    return gateway.Listener(
        name=raw.name,
        port=raw.port,
        protocol=raw.protocol,
        allowed=None
        if allowed is None
        else gateway.AllowedNamespaces(
            origin=allowed.origin or "",
            selector=None
            if allowed.selector is None
            else read_selector(
                allowed.selector, (*path, "allowedRoutes", "namespaces", "selector")
            ),
        ),
        tls_mode=(raw.tls.mode or "") if raw.tls else "",
    )


def read_gateway_class(raw: RawGatewayClass, metadata: Metadata) -> gateway.GatewayClass:
    """Return the class."""
    spec = raw.spec or RawGatewayClassSpec()
    return gateway.GatewayClass(metadata=metadata, controller_name=spec.controller_name or "")
