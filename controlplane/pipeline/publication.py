"""Publication: net changes of the encoded collections come in, one catalog commit goes out.

Changes are staged while the graph delivers and become visible together when its commit ends, so
that no client ever sees half of one (docs/protocol/discovery.md).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from controlplane.dataflow import Change, Collection, CommitSummary, Graph, Handler
from controlplane.encode.resource import Resource
from controlplane.mesh.scopes import NodePolicy
from controlplane.model.names import Name
from controlplane.model.resident import Resident
from controlplane.pipeline.encoding import Encoded, EncodedPolicy
from controlplane.pipeline.refusals import Sent
from controlplane.pipeline.waypoint_encoding import EncodedWaypoints
from controlplane.pipeline.waypoint_resources import PlacedResource, WaypointResource
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    TableKey,
    node_authorizations,
    waypoint_endpoints,
    waypoint_resources,
)

_SLICE: Final = 512

Staged = tuple[str, Resource | None]


def publish_to(
    catalog: Catalog, graph: Graph, encoded: Encoded, waypoints: EncodedWaypoints
) -> None:
    """Keep ``catalog`` equal to what is encoded, one catalog commit per graph commit."""
    publication = _Publication(catalog)
    for type_url, collection in waypoints.by_type():
        collection.subscribe(publication.of_waypoints(type_url))
    waypoints.near_endpoints.subscribe(publication.near_endpoints_changed)
    encoded.authorizations.subscribe(publication.policies_changed)
    encoded.node_authorizations.subscribe(publication.policies_of_nodes_changed)
    encoded.services.subscribe(publication.addresses_changed)
    encoded.workloads.subscribe(publication.addresses_changed)
    graph.on_commit(publication.committed)
    # Whatever was committed before has been delivered by subscribing.
    catalog.publish()


def publish_residents_to(
    residents: Residents, graph: Graph, collection: Collection[Name, Resident]
) -> None:
    """Keep ``residents`` equal to ``collection`` from now on, one commit per graph commit."""

    def changed(changes: Sequence[Change[Name, Resident]]) -> Iterator[None]:
        for start in range(0, len(changes), _SLICE):
            part = changes[start : start + _SLICE]
            residents.stage((name, new) for name, _, new in part)
            yield

    collection.subscribe(changed)
    graph.on_commit(lambda _: residents.publish(loaded=graph.ready))
    residents.publish(loaded=graph.ready)


class _Publication:
    """The subscribers, run in slices by the graph."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def addresses_changed(self, changes: Sequence[Change[Any, Sent]]) -> Iterator[None]:
        for start in range(0, len(changes), _SLICE):
            part = changes[start : start + _SLICE]
            self._catalog.stage(
                ADDRESSES,
                [staged for _, old, new in part for staged in _staged(_sent(old), _sent(new))],
            )
            yield

    def policies_changed(self, changes: Sequence[Change[Name, EncodedPolicy]]) -> Iterator[None]:
        for _, old, new in changes:
            before = old.resource if old else None
            after = new.resource if new else None
            self._catalog.stage(AUTHORIZATIONS, _staged(before, after))
            everywhere_before = before if old and old.is_global else None
            everywhere_after = after if new and new.is_global else None
            self._catalog.stage(GLOBAL_AUTHORIZATIONS, _staged(everywhere_before, everywhere_after))
            yield

    def policies_of_nodes_changed(
        self, changes: Sequence[Change[NodePolicy, Resource]]
    ) -> Iterator[None]:
        by_table: dict[TableKey, list[Staged]] = {}
        for (node, _), old, new in changes:
            by_table.setdefault(node_authorizations(node), []).extend(_staged(old, new))
        for key, staged in by_table.items():
            self._catalog.stage(key, staged)
            yield

    def near_endpoints_changed(
        self, changes: Sequence[Change[PlacedResource, Sent]]
    ) -> Iterator[None]:
        by_table: dict[TableKey, list[Staged]] = {}
        for key, old, new in changes:
            table = waypoint_endpoints(key.waypoint, key.node)
            by_table.setdefault(table, []).extend(_staged(_sent(old), _sent(new)))
        for table, staged in by_table.items():
            self._catalog.stage(table, staged)
            yield

    def of_waypoints(self, type_url: str) -> Handler[WaypointResource, Sent]:
        """Return the subscriber for one type of resources of waypoints."""

        def changed(changes: Sequence[Change[WaypointResource, Sent]]) -> Iterator[None]:
            by_table: dict[TableKey, list[Staged]] = {}
            for key, old, new in changes:
                table = waypoint_resources(key.waypoint, type_url)
                by_table.setdefault(table, []).extend(_staged(_sent(old), _sent(new)))
            for table, staged in by_table.items():
                self._catalog.stage(table, staged)
                yield

        return changed

    def committed(self, _: CommitSummary) -> None:
        self._catalog.publish()


def _sent(encoded: Sent | None) -> Resource | None:
    return encoded if isinstance(encoded, Resource) else None


def _staged(old: Resource | None, new: Resource | None) -> tuple[Staged, ...]:
    """Return what a table is told: the new resource, the end of the old one, or nothing."""
    if new is not None:
        return ((new.name, new),)
    return () if old is None else ((old.name, None),)
