"""A whole pipeline and what the waypoints of it are sent, as resources and as documents."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.encode.document import envoy_json
from controlplane.encode.static_bootstrap import Discovered, Secrets, static_resources
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    WAYPOINT_TYPES,
)

WAYPOINT = Name("shop", "waypoint")
SHORT = {CLUSTER_TYPE: "CDS", ENDPOINT_TYPE: "EDS", LISTENER_TYPE: "LDS", ROUTE_TYPE: "RDS"}

ON_ONE_MACHINE: Final = MeshSettings(waypoints_listen_on_pods=True)
"""For pods whose addresses are on loopback: no other waypoint sends anything there."""


@dataclass(slots=True)
class Waypoints:
    """Manifests in, resources of waypoints out, through the catalog that serves them."""

    shuffle: int | None = None
    settings: MeshSettings = field(default_factory=MeshSettings)
    pipeline: Pipeline = field(init=False)
    catalog: Catalog = field(default_factory=Catalog)

    def __post_init__(self) -> None:
        self.pipeline = build_pipeline(self.settings, shuffle=self.shuffle)
        self.pipeline.publish_to(self.catalog)

    def apply(
        self, *manifests: Manifest | MeshConfig, removed: Iterable[Manifest] = ()
    ) -> dict[str, set[str]]:
        """Put and remove objects in one commit; return what waypoints are sent because of it.

        Names by "waypoint TYPE", removals with a minus in front.
        """
        before = self.catalog.commit
        with self.pipeline.graph.transaction():
            for manifest in manifests:
                self._input(identity_of(manifest))[0].put(manifest)
            for manifest in removed:
                source, key = self._input(identity_of(manifest))
                source.remove(key)
        assert self.pipeline.graph.failures == {}
        assert self.pipeline.graph.clashes == ()
        return self._changed_since(before)

    def names(self, type_url: str, waypoint: Name = WAYPOINT) -> set[str]:
        return set(self.documents(type_url, waypoint))

    def documents(self, type_url: str, waypoint: Name = WAYPOINT, node: str = "") -> dict[str, Any]:
        """Documents of one type by name, as pods on a node are sent them."""
        updates = self.catalog.waypoint(waypoint, type_url, node).resources()
        return {each.name: envoy_json(each) for each in sorted(updates, key=lambda r: r.name)}

    def bodies(self, waypoint: Name = WAYPOINT) -> dict[tuple[str, str], bytes]:
        """Resources by type and name; with a node those that its pods are sent."""
        return {
            (type_url, f"{resource.name} at {node}" if node else resource.name): resource.body
            for node in self.nodes(waypoint)
            for type_url in WAYPOINT_TYPES
            for resource in self.catalog.waypoint(waypoint, type_url, node).resources()
        }

    def nodes(self, waypoint: Name) -> list[str]:
        """Nodes with pods of the waypoint, and "" for none known, which is the first."""
        places = self.pipeline.world.traffic.places.items()
        return sorted(place.node for _, place in places if place.waypoint == waypoint)

    def static(self, secrets: Secrets, waypoint: Name = WAYPOINT) -> dict[str, Any]:
        """Everything the waypoint is sent where it runs, or on one such node, inlined."""
        node = self.nodes(waypoint)[-1]
        return static_resources(
            Discovered(
                listeners=self.documents(LISTENER_TYPE, waypoint).values(),
                routes=self.documents(ROUTE_TYPE, waypoint).values(),
                clusters=self.documents(CLUSTER_TYPE, waypoint).values(),
                endpoints=self.documents(ENDPOINT_TYPE, waypoint, node).values(),
                secrets=secrets,
            )
        )

    def waypoints(self) -> list[Name]:
        return sorted(key for key, _ in self.pipeline.world.traffic.frames.items())

    def problems(self) -> list[Problem]:
        return [problem for _, problem in sorted(self.pipeline.problems.items())]

    def _input(self, identity: Identity) -> Any:
        place = input_of(self.pipeline.inputs, identity)
        assert place is not None
        return place

    def _changed_since(self, before: int) -> dict[str, set[str]]:
        changed: dict[str, set[str]] = {}
        if self.catalog.commit == before:
            return changed
        for key in self.catalog.changed:
            scope, _, waypoint = key.scope.partition("/")
            if scope == "waypoint":
                history = self.catalog.table(key).history(before)
                changed[f"{waypoint} {SHORT[key.type_url]}"] = {
                    name if entry.resource else f"-{name}" for name, entry in history
                }
        return changed
