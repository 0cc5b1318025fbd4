"""ServiceEntry and WorkloadEntry: raw JSON shape -> ``istio`` manifests.

Policies are read in ``read_policies``, where unknown fields are refused.
"""

from typing import Annotated, Final

import msgspec

from controlplane.manifests import istio
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import OptionalPort, PortNumber, objects, one_of
from controlplane.manifests.read_metadata import RawObject

Weight = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_RESOLUTIONS: Final = ("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")
_LOCATIONS: Final = ("MESH_EXTERNAL", "MESH_INTERNAL")


class RawWorkloadSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a WorkloadEntry, or an endpoint of a ServiceEntry."""

    address: str | None = None
    ports: dict[str, PortNumber] | None = None
    labels: dict[str, str] | None = None
    network: str | None = None
    locality: str | None = None
    weight: Weight | None = None
    service_account: str | None = None


class RawWorkloadEntry(RawObject, rename="camel"):
    """A WorkloadEntry."""

    spec: RawWorkloadSpec | None = None


class RawServiceEntryPort(msgspec.Struct, rename="camel"):
    """``ports[]`` of a ServiceEntry."""

    number: PortNumber
    name: str | None = None
    protocol: str | None = None
    target_port: OptionalPort | None = None


class RawEntrySelector(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``workloadSelector`` of a ServiceEntry: labels only."""

    labels: dict[str, str] | None = None


class RawServiceEntrySpec(msgspec.Struct, rename="camel"):
    """``spec`` of a ServiceEntry."""

    hosts: list[str] | None = None
    addresses: list[str] | None = None
    ports: list[RawServiceEntryPort] | None = None
    location: str | None = None
    resolution: str | None = None
    endpoints: list[RawWorkloadSpec | None] | None = None
    workload_selector: RawEntrySelector | None = None
    subject_alt_names: list[str] | None = None


class RawAllocatedAddress(msgspec.Struct, rename="camel"):
    """``status.addresses[]`` of a ServiceEntry."""

    value: str | None = None
    host: str | None = None


class RawServiceEntryStatus(msgspec.Struct, rename="camel"):
    """``status`` of a ServiceEntry."""

    addresses: list[RawAllocatedAddress | None] | None = None


class RawServiceEntry(RawObject, rename="camel"):
    """A ServiceEntry."""

    spec: RawServiceEntrySpec | None = None
    status: RawServiceEntryStatus | None = None


_WORKLOAD: Final = RawWorkloadSpec()
_ALLOCATED: Final = RawAllocatedAddress()


def read_workload_entry(raw: RawWorkloadEntry, metadata: Metadata) -> istio.WorkloadEntry:
    """Return the WorkloadEntry."""
    return istio.WorkloadEntry(metadata=metadata, spec=_workload_spec(raw.spec or _WORKLOAD))


def _workload_spec(raw: RawWorkloadSpec) -> istio.WorkloadSpec:
    return istio.WorkloadSpec(
        address=raw.address or "",
        ports=raw.ports or {},
        labels=raw.labels or {},
        network=raw.network or "",
        locality=raw.locality or "",
        weight=raw.weight or 0,
        service_account=raw.service_account or "",
    )


def read_service_entry(raw: RawServiceEntry, metadata: Metadata) -> istio.ServiceEntry:
    """Return the ServiceEntry; refuses a resolution or location that is not one."""
    spec = raw.spec or RawServiceEntrySpec()
    status = raw.status or RawServiceEntryStatus()
    selector = spec.workload_selector
    location = spec.location or ""
    return istio.ServiceEntry(
        metadata=metadata,
        hosts=tuple(spec.hosts or ()),
        addresses=tuple(spec.addresses or ()),
        ports=tuple(
            istio.ServiceEntryPort(
                number=port.number,
                name=port.name or "",
                protocol=port.protocol or "",
                target_port=port.target_port or 0,
            )
            for port in spec.ports or ()
        ),
        location=one_of(location, _LOCATIONS, ("spec", "location")) if location else "",
        resolution=one_of(spec.resolution or "NONE", _RESOLUTIONS, ("spec", "resolution")),
        endpoints=tuple(
            _workload_spec(endpoint) for endpoint in objects(spec.endpoints, _WORKLOAD)
        ),
        workload_selector=None if selector is None else selector.labels or {},
        subject_alt_names=tuple(spec.subject_alt_names or ()),
        status_addresses=tuple(
            istio.AllocatedAddress(value=address.value or "", host=address.host or "")
            for address in objects(status.addresses, _ALLOCATED)
        ),
    )
