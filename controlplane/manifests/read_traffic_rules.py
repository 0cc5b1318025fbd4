"""VirtualService and DestinationRule: raw JSON shape -> ``traffic_rules`` manifests.

Only what they are for is read, narrowly: nothing of what they do is in force, and what they say of
it is never a reason to refuse them.
"""

import msgspec

from controlplane.manifests import traffic_rules
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_metadata import RawObject


class RawVirtualServiceSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a VirtualService."""

    hosts: list[str] | None = None
    gateways: list[str] | None = None
    export_to: list[str] | None = None


class RawVirtualService(RawObject, rename="camel"):
    """A VirtualService."""

    spec: RawVirtualServiceSpec | None = None


class RawClientSelector(msgspec.Struct, rename="camel"):
    """``workloadSelector`` of a DestinationRule."""

    match_labels: dict[str, str] | None = None


class RawDestinationRuleSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a DestinationRule."""

    host: str | None = None
    export_to: list[str] | None = None
    workload_selector: RawClientSelector | None = None


class RawDestinationRule(RawObject, rename="camel"):
    """A DestinationRule."""

    spec: RawDestinationRuleSpec | None = None


_VIRTUAL_SERVICE = RawVirtualServiceSpec()
_DESTINATION_RULE = RawDestinationRuleSpec()


def read_virtual_service(
    raw: RawVirtualService, metadata: Metadata
) -> traffic_rules.VirtualService:
    """Return the VirtualService."""
    spec = raw.spec or _VIRTUAL_SERVICE
    return traffic_rules.VirtualService(
        metadata=metadata,
        hosts=tuple(spec.hosts or ()),
        gateways=tuple(spec.gateways or ()),
        visible_in=tuple(spec.export_to or ()),
    )


def read_destination_rule(
    raw: RawDestinationRule, metadata: Metadata
) -> traffic_rules.DestinationRule:
    """Return the DestinationRule."""
    spec = raw.spec or _DESTINATION_RULE
    selector = spec.workload_selector
    return traffic_rules.DestinationRule(
        metadata=metadata,
        host=spec.host or "",
        visible_in=tuple(spec.export_to or ()),
        workload_selector={} if selector is None else selector.match_labels or {},
    )
