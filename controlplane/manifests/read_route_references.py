"""What routes of every kind name, parents and backends: raw JSON shape -> references.

Defaults are those of the API. docs/protocol/http-routes.md HR-1.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from controlplane.manifests.gateway import GATEWAY_GROUP
from controlplane.manifests.read_fields import OptionalPort
from controlplane.manifests.route_references import BackendTarget
from controlplane.model.route_parent import ParentReference

Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class RawParent(msgspec.Struct, rename="camel"):
    """``parentRefs[]`` of a route."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    section_name: str | None = None
    port: OptionalPort | None = None


class RawBackendTarget(msgspec.Struct, rename="camel"):
    """``backendRef`` of a mirror, and what ``backendRefs[]`` have of it."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    port: OptionalPort | None = None


class RawBackend(RawBackendTarget, rename="camel"):
    """``backendRefs[]`` of a rule."""

    weight: Weight | None = None


def read_parents(raw: Iterable[RawParent] | None) -> tuple[ParentReference, ...]:
    """Return the parents of a route; without a group and a kind they are Gateways."""
    return tuple(
        ParentReference(
            group=GATEWAY_GROUP if parent.group is None else parent.group,
            kind=parent.kind or "Gateway",
            namespace=parent.namespace or "",
            name=parent.name,
            section=parent.section_name or "",
            port=parent.port or 0,
        )
        for parent in raw or ()
    )


def read_target(raw: RawBackendTarget) -> BackendTarget:
    """Return the object that a backend is; without a group and a kind it is a Service."""
    return BackendTarget(
        name=raw.name,
        group=raw.group or "",
        kind=raw.kind or "Service",
        namespace=raw.namespace or "",
        port=raw.port or 0,
    )


def read_weight(raw: RawBackend) -> int:
    """Return the weight of a backend; the default is 1, and 0 is a weight."""
    return 1 if raw.weight is None else raw.weight
