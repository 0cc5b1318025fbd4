"""What one object is judged against: the few committed objects that it refers to.

A manifest comes in, what of the committed mesh its rules look at goes out: never more than a fixed
number of objects, however big the mesh is (docs/protocol/admission.md AD-11).
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from controlplane.manifests.gateway import Gateway
from controlplane.manifests.http_route import Route
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    RequestAuthentication,
    ServiceEntry,
    TargetReference,
    WorkloadEntry,
)
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.route_references import BackendTarget
from controlplane.mesh.inputs import MESH
from controlplane.mesh.wishes import Wish, canary_wish, namespace_wishes, waypoint_wish
from controlplane.model.names import Name, ServiceName
from controlplane.pipeline.assembly import Pipeline

MOST_TARGETS: Final = 16
MOST_HOSTS: Final = 64

Object = Manifest | MeshConfig


def surroundings(manifest: Manifest, pipeline: Pipeline) -> tuple[Object, ...]:
    """Return the committed objects that decide about ``manifest``, itself left out."""
    found = _Surroundings(pipeline)
    namespace = manifest.metadata.namespace
    found.add_namespace(namespace)
    match manifest:
        case AuthorizationPolicy() | RequestAuthentication():
            for reference in manifest.target_references[:MOST_TARGETS]:
                found.add_target(reference, namespace)
        case ServiceEntry():
            found.add_wanted_waypoints(manifest.metadata.labels, namespace)
            for host in manifest.hosts[:MOST_HOSTS]:
                found.add_rival(host, namespace)
        case WorkloadEntry():
            labels = {**manifest.spec.labels, **manifest.metadata.labels}
            found.add_wanted_waypoints(labels, namespace)
        case Route():
            for parent in manifest.parents[:MOST_TARGETS]:
                found.add_object(parent.kind, Name(parent.namespace or namespace, parent.name))
            for target in islice(backends_of(manifest), MOST_TARGETS):
                found.add_object(target.kind, Name(target.namespace or namespace, target.name))
        case Gateway():
            found.add_bare_class(manifest.class_name)
    return found.objects(without=manifest)


def backends_of(route: Route) -> Iterator[BackendTarget]:
    """Yield every object that requests are sent or copied to."""
    for rule in route.rules:
        yield from (backend.target for backend in rule.backends)
        filters = (*rule.filters, *(each for backend in rule.backends for each in backend.filters))
        yield from (each.mirror.target for each in filters if each.mirror is not None)


class _Surroundings:
    """Gathers committed objects, each once."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._inputs = pipeline.inputs
        self._world = pipeline.world
        self._found: dict[tuple[str, Name], Object] = {}
        mesh_config = self._inputs.mesh_config.get(MESH)
        if mesh_config is not None:
            self._found["MeshConfig", MESH] = mesh_config

    def objects(self, *, without: Manifest) -> tuple[Object, ...]:
        own = (without.kind, without.key)
        return tuple(value for identity, value in self._found.items() if identity != own)

    def add_namespace(self, name: str) -> None:
        self._add(self._inputs.namespaces.get(Name("", name)))

    def add_target(self, reference: TargetReference, namespace: str) -> None:
        self.add_object(reference.kind, Name(reference.namespace or namespace, reference.name))

    def add_object(self, kind: str, key: Name) -> None:
        """Add what a reference of ``kind`` means, with the waypoints that it wants."""
        match kind:
            case "Gateway":
                self._add_gateway(key)
            case "GatewayClass":
                self._add(self._inputs.gateway_classes.get(Name("", key.name)))
            case "Service":
                self._add_service(self._inputs.services.get(key))
            case "ServiceEntry":
                self._add_service(self._inputs.service_entries.get(key))

    def add_wanted_waypoints(self, labels: Mapping[str, str], namespace: str) -> None:
        """Add the waypoints that something labelled like this asks for, or its namespace does."""
        self.add_namespace(namespace)
        found = self._inputs.namespaces.get(Name("", namespace))
        metadata = None if found is None else found.metadata
        theirs = namespace_wishes(
            metadata.labels if metadata else {}, metadata.annotations if metadata else {}, namespace
        )
        self._add_wished(waypoint_wish(labels, namespace) or theirs.waypoint)
        self._add_wished(canary_wish(labels, namespace) or theirs.canary)

    def add_rival(self, host: str, namespace: str) -> None:
        """Add what answers for ``host`` in the namespace now."""
        service = self._world.services.get(ServiceName(namespace, host))
        if service is not None:
            key = Name(service.namespace, service.name)
            self._add(self._inputs.service_entries.get(key))
            self._add(self._inputs.services.get(key))

    def add_bare_class(self, name: str) -> None:
        """Add a GatewayClass without what it says itself: that is no fault of its Gateways."""
        found = self._inputs.gateway_classes.get(Name("", name))
        if found is not None:
            bare = msgspec.structs.replace(found.metadata, labels={}, annotations={})
            self._add(msgspec.structs.replace(found, metadata=bare))

    def _add(self, manifest: Manifest | None) -> None:
        if manifest is not None:
            self._found.setdefault((manifest.kind, manifest.key), manifest)

    def _add_service(self, manifest: Manifest | None) -> None:
        if manifest is not None:
            self._add(manifest)
            self.add_wanted_waypoints(manifest.metadata.labels, manifest.metadata.namespace)

    def _add_wished(self, wish: Wish | None) -> None:
        if wish is not None and wish.key is not None:
            self._add_gateway(wish.key)

    def _add_gateway(self, key: Name) -> None:
        found = self._inputs.gateways.get(key)
        if found is not None:
            self._add(found)
            self._add(self._inputs.gateway_classes.get(Name("", found.class_name)))
            self.add_namespace(key.namespace)
