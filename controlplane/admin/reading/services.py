"""Services, a page at a time, and one of them whole."""

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Final

from controlplane.admin.errors import NotFoundError
from controlplane.admin.queries import ServiceQuery
from controlplane.admin.reading.ground import Ground, contains, told
from controlplane.admin.reading.holders import HOLDERS, Holders
from controlplane.admin.reading.listing import Listing
from controlplane.admin.reading.texts import addresses_text, balancing_text, gateway_text
from controlplane.admin.values.common import Page
from controlplane.admin.values.mesh import EndpointValue, PortValue, ServiceDetail, ServiceValue
from controlplane.admin.viewer import Viewer
from controlplane.encode.document import protobuf_json
from controlplane.model.names import ServiceName
from controlplane.model.service import Service
from controlplane.model.workload import Workload, WorkloadStatus
from controlplane.snapshots.scope import ADDRESS_TYPE, ADDRESSES

WORKLOADS: Final = 1000
"""Workloads told of one service."""


class Services:
    """Every service of the mesh."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._services = ground.pipeline.world.services
        self._workloads = ground.pipeline.world.workloads
        self.listing = Listing(self._services, lambda key, _: (key.namespace, key.hostname))

    async def page(self, viewer: Viewer, query: ServiceQuery) -> Page[ServiceValue]:
        """Return services, by namespace and hostname.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        return await self._ground.page(
            self.listing, viewer, query, keep=_kept(query), values=self._values
        )

    def members(self, key: ServiceName) -> Collection[str]:
        """Return the uids of a service's workloads."""
        return self._ground.residence.behind(key)

    async def one(self, viewer: Viewer, key: ServiceName) -> ServiceDetail:
        """Return one service.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        service = self._services.get(key)
        if service is None or not viewer.may_see(key.namespace):
            raise NotFoundError(f"there is no service {key}")
        holders = await self._ground.holders()
        resource = self._ground.catalog.table(ADDRESSES).get(str(key))
        named = tuple(islice(holders.named_address(str(key)), HOLDERS))
        members = sorted(self._ground.residence.behind(key))
        workloads = [
            _endpoint(workload)
            for uid in members[:WORKLOADS]
            if (workload := self._workloads.get(uid)) is not None
            and viewer.may_see(workload.namespace)
        ]
        return ServiceDetail(
            **dict(self._value(service, holders)),
            workloads=tuple(workloads),
            conditions=self._ground.conditions(self._ground.object_of(ADDRESS_TYPE, str(key))),
            holders=named if viewer.sees_all else (),
            document=None if resource is None else protobuf_json(resource),
        )

    async def _values(self, services: Iterable[Service]) -> tuple[ServiceValue, ...]:
        holders = await self._ground.holders()
        return await told(self._value(service, holders) for service in services)

    def _value(self, service: Service, holders: Holders) -> ServiceValue:
        members = self._ground.residence.behind(service.key)
        workloads = [each for uid in members if (each := self._workloads.get(uid)) is not None]
        healthy = sum(each.status is WorkloadStatus.HEALTHY for each in workloads)
        reference = self._ground.object_of(ADDRESS_TYPE, str(service.key))
        return ServiceValue(
            name=service.name,
            namespace=service.namespace,
            hostname=service.hostname,
            addresses=tuple(map(str, service.addresses)),
            ports=tuple(
                PortValue(
                    port=port.service_port,
                    target_port=port.target_port,
                    protocol=port.app_protocol.name,
                )
                for port in service.ports
            ),
            waypoint=gateway_text(service.waypoint),
            weighted_waypoints=tuple(
                f"{gateway_text(each.destination)}={each.weight}"
                for each in service.weighted_waypoints
            ),
            canonical=service.canonical,
            visibility=service.visibility.name.lower(),
            ip_families=service.ip_families.name,
            load_balancing=balancing_text(service.load_balancing),
            subject_alt_names=service.subject_alt_names,
            healthy=healthy,
            endpoints=len(workloads),
            source=self._ground.source(reference),
            served=holders.of_address(str(service.key)),
        )


def _endpoint(workload: Workload) -> EndpointValue:
    return EndpointValue(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        addresses=addresses_text(workload),
        node=workload.node,
        healthy=workload.status is WorkloadStatus.HEALTHY,
    )


def _kept(query: ServiceQuery) -> Callable[[ServiceName, Service], bool] | None:
    """Return what a service must be like; None for anything."""
    if not (query.name or query.waypoint):
        return None
    name = query.name.lower()

    def keep(key: ServiceName, service: Service) -> bool:
        return (
            not query.waypoint or gateway_text(service.waypoint) == query.waypoint
        ) and contains(name, service.name, key.hostname)

    return keep
