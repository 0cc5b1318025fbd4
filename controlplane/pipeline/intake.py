"""Intake: what sources read comes in, edits of the graph's inputs go out through the batcher.

It is the ``Sink`` of every source. It also remembers where each object was written, because rules
know objects and users know files.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from controlplane.dataflow import Batcher, Input
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.mesh.inputs import Inputs
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem
from controlplane.sources.source import Origin

_PLAIN: Final = {
    "AuthorizationPolicy": "authorization_policies",
    "DestinationRule": "destination_rules",
    "BackendTLSPolicy": "backend_tls_policies",
    "ConfigMap": "config_maps",
    "EndpointSlice": "endpoint_slices",
    "Gateway": "gateways",
    "GatewayClass": "gateway_classes",
    "MeshConfig": "mesh_config",
    "Namespace": "namespaces",
    "Node": "nodes",
    "PeerAuthentication": "peer_authentications",
    "Pod": "pods",
    "RequestAuthentication": "request_authentications",
    "Service": "services",
    "ServiceAccount": "service_accounts",
    "ServiceEntry": "service_entries",
    "VirtualService": "virtual_services",
    "WorkloadEntry": "workload_entries",
}
_BY_KIND: Final = {
    "DaemonSet": "workload_templates",
    "Deployment": "workload_templates",
    "GRPCRoute": "routes",
    "HTTPRoute": "routes",
    "StatefulSet": "workload_templates",
    "TCPRoute": "connection_routes",
    "TLSRoute": "connection_routes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProblems:
    """Everything wrong at one place a source reads: a file, or the source itself."""

    file: str
    problems: tuple[Problem, ...]


class Arrivals(Protocol):
    """Hears of every object that is handed over; called on the loop, so it must be quick."""

    def arrived(
        self, reference: ObjectReference, *, is_removal: bool, happened_at: datetime | None
    ) -> None:
        """Hear of an object that is new, changed or gone, and when by the source's own time."""
        ...


class Intake:
    """Takes what sources find.

    Args of construction: the inputs to fill, the input of what is wrong with the files, the
    batcher in front of both, and who hears what arrives.
    """

    def __init__(
        self,
        inputs: Inputs,
        found_problems: Input[str, FoundProblems],
        batcher: Batcher,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._inputs = inputs
        self._found_problems = found_problems
        self._batcher = batcher
        self._arrivals = arrivals
        self._origins: dict[Identity, Origin] = {}

    def put(
        self, manifest: Manifest | MeshConfig, origin: Origin, *, written_at: float = 0.0
    ) -> None:
        """Take a new or changed object; one of a kind that no rule reads is left aside."""
        identity = identity_of(manifest)
        place = input_of(self._inputs, identity)
        if place is not None:
            self._origins[identity] = origin
            self._note(identity, is_removal=False, written_at=written_at)
            self._batcher.put(place[0], manifest)

    def remove(self, kind: str, key: Name) -> None:
        """Forget an object."""
        identity = Identity(kind, key)
        place = input_of(self._inputs, identity)
        if place is not None:
            self._origins.pop(identity, None)
            self._note(identity, is_removal=True)
            self._batcher.remove(*place)

    def problems(self, origin: Origin, found: tuple[Problem, ...]) -> None:
        """Take everything now wrong at ``origin.file``; nothing wrong forgets the file."""
        if found:
            told = FoundProblems(file=origin.file, problems=found)
            self._batcher.put(self._found_problems, told)
        else:
            self._batcher.remove(self._found_problems, origin.file)

    def synced(self) -> None:
        """Let the graph become ready: everything there was has been handed over."""
        for source in (*self._inputs.all(), self._found_problems):
            self._batcher.mark_synced(source)

    def origin(self, reference: ObjectReference) -> Origin | None:
        """Return where an object that is there now was read."""
        return self._origins.get(_identity(reference))

    def located(self, problem: Problem) -> Problem:
        """Return ``problem`` with the file and line of its object, where they are known."""
        if problem.object is None:
            return problem
        return at_origin(problem, self._origins.get(_identity(problem.object)))

    def _note(self, identity: Identity, *, is_removal: bool, written_at: float = 0.0) -> None:
        if self._arrivals is not None:
            reference = ObjectReference(identity.kind, *identity.key)
            happened_at = datetime.fromtimestamp(written_at, UTC) if written_at else None
            self._arrivals.arrived(reference, is_removal=is_removal, happened_at=happened_at)


def input_of(inputs: Inputs, identity: Identity) -> tuple[Input[Any, Any], Any] | None:
    """Return the input that holds the object and its key there; None when no rule reads it."""
    name = _PLAIN.get(identity.kind)
    if name is not None:
        return getattr(inputs, name), identity.key
    name = _BY_KIND.get(identity.kind)
    return None if name is None else (getattr(inputs, name), (identity.kind, identity.key))


def at_origin(problem: Problem, origin: Origin | None) -> Problem:
    """Return ``problem`` with the file and line of ``origin``, unless it has a file already."""
    if origin is None or problem.file is not None:
        return problem
    return replace(problem, file=origin.file, line=origin.line)


def _identity(reference: ObjectReference) -> Identity:
    return Identity(reference.kind, Name(reference.namespace, reference.name))
