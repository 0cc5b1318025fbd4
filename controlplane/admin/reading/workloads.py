"""Workloads, a page at a time, and one of them whole."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from controlplane.admin.errors import NotFoundError
from controlplane.admin.queries import WorkloadQuery
from controlplane.admin.reading.ground import Ground, contains, page_of, told
from controlplane.admin.reading.holders import HOLDERS, Holders
from controlplane.admin.reading.listing import Listing
from controlplane.admin.reading.policies import Policies
from controlplane.admin.reading.texts import (
    STATUSES,
    addresses_text,
    gateway_text,
    identity_of,
    locality_text,
    protocol_text,
)
from controlplane.admin.values.common import Page, Source
from controlplane.admin.values.mesh import WorkloadDetail, WorkloadValue
from controlplane.admin.viewer import Viewer
from controlplane.encode.document import protobuf_json
from controlplane.model.names import ObjectReference, ServiceName
from controlplane.model.network import address_from_text
from controlplane.model.workload import Workload
from controlplane.snapshots.scope import ADDRESS_TYPE, ADDRESSES

_TEMPLATES: Final = ("Deployment", "StatefulSet", "DaemonSet")


class Workloads:
    """Every workload of the mesh."""

    def __init__(self, ground: Ground, policies: Policies) -> None:
        self._ground = ground
        self._policies = policies
        self._workloads = ground.pipeline.world.workloads
        self.listing = Listing(
            self._workloads, lambda _, workload: (workload.namespace, workload.name)
        )

    async def page(self, viewer: Viewer, query: WorkloadQuery) -> Page[WorkloadValue]:
        """Return workloads, by namespace and name.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        namespace = viewer.narrowed(query.namespace)
        commit = self._ground.catalog.commit
        found = await self.listing.page(
            after=query.after,
            limit=query.limit,
            namespace=namespace,
            keep=_kept(query),
            among=self._candidates(query),
        )
        holders = await self._ground.holders()
        is_whole = query == WorkloadQuery(
            limit=query.limit, after=query.after, namespace=query.namespace
        )
        return page_of(
            await told(self._value(workload, holders) for _, workload in found.items),
            next_cursor=found.next,
            total=self.listing.count(namespace) if is_whole else None,
            commit=commit,
        )

    async def one(self, viewer: Viewer, uid: str) -> WorkloadDetail:
        """Return one workload.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        workload = self._workloads.get(uid)
        if workload is None or not viewer.may_see(workload.namespace):
            raise NotFoundError(f"there is no workload with the uid {uid!r}")
        holders = await self._ground.holders()
        named = tuple(islice(holders.named_address(uid), HOLDERS))
        resource = self._ground.catalog.table(ADDRESSES).get(uid)
        return WorkloadDetail(
            **dict(self._value(workload, holders)),
            policies_in_order=await self._policies.of_workload(viewer, workload),
            holders=named if viewer.sees_all else (),
            document=None if resource is None else protobuf_json(resource),
        )

    def _candidates(self, query: WorkloadQuery) -> Iterable[str] | None:
        residence = self._ground.residence
        if query.service:
            namespace, _, hostname = query.service.partition("/")
            return tuple(residence.behind(ServiceName(namespace, hostname)))
        return tuple(residence.on_node(query.node)) if query.node else None

    def _source(self, workload: Workload, reference: ObjectReference | None) -> Source:
        """Return where a workload comes from: where no cluster makes pods, from its template."""
        source = self._ground.source(reference)
        if source.file or reference is None or reference.kind != "Pod":
            return source
        templates = (
            ObjectReference(kind, workload.namespace, workload.workload_name) for kind in _TEMPLATES
        )
        found = (self._ground.source(template) for template in templates)
        return next((each for each in found if each.file), source)

    def _value(self, workload: Workload, holders: Holders) -> WorkloadValue:
        reference = self._ground.object_of(ADDRESS_TYPE, workload.uid)
        return WorkloadValue(
            uid=workload.uid,
            name=workload.name,
            namespace=workload.namespace,
            cluster=workload.cluster_id,
            addresses=addresses_text(workload),
            hostname=workload.hostname,
            network=workload.network,
            node=workload.node,
            service_account=workload.service_account,
            identity=identity_of(workload),
            protocol=protocol_text(workload),
            waypoint=gateway_text(workload.waypoint),
            network_gateway=gateway_text(workload.network_gateway),
            workload_name=workload.workload_name,
            workload_type=workload.workload_type.name.lower(),
            canonical_name=workload.canonical_name,
            canonical_revision=workload.canonical_revision,
            status=STATUSES[workload.status],
            locality=locality_text(workload.locality),
            services=tuple(str(service) for service, _ in workload.services),
            policies=tuple(map(str, workload.authorization_policies)),
            source=self._source(workload, reference),
            served=holders.of_address(workload.uid),
        )


def _kept(query: WorkloadQuery) -> Any:
    """Return what a workload must be like; None for anything."""
    if not (query.name or query.node or query.account or query.address or query.status):
        return None
    name = query.name.lower()
    address = address_from_text(query.address) if query.address else None

    def keep(_: str, workload: Workload) -> bool:
        return (
            (not query.node or workload.node == query.node)
            and (not query.account or workload.service_account == query.account)
            and (not query.status or STATUSES[workload.status] == query.status)
            and (not query.address or (address is not None and address in workload.addresses))
            and contains(name, workload.name)
        )

    return keep
