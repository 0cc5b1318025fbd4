from dataclasses import replace

import pytest

from controlplane.dataflow import Graph, Input
from controlplane.encode.document import protobuf_json
from controlplane.encode.policy import encode_authorization
from controlplane.encode.resource import Resource
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.mesh.inputs import build_inputs
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.world import build_world
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.policy import (
    Action,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    StringMatch,
)
from controlplane.model.problem import Problem, Severity
from controlplane.model.service import Service
from controlplane.model.workload import Workload
from controlplane.pipeline.encoding import Encoded, build_encoded
from controlplane.pipeline.refusals import REFUSED, Refusal
from controlplane.pipeline.waypoint_encoding import build_encoded_waypoints
from tests.support.waypoint_traffic import Traffic

POD = Workload(
    uid="Kubernetes//Pod/apps/a",
    name="a",
    namespace="apps",
    node="node-1",
    authorization_policies=(Name("apps", "p"),),
)
SERVICE = Service(name="a", namespace="apps", hostname="a.apps.svc.cluster.local")
POLICY = Authorization(
    name="p",
    namespace="apps",
    scope=Scope.WORKLOAD_SELECTOR,
    action=Action.ALLOW,
    groups=(Group((Rule((Match(destination_ports=(80,)),)),)),),
)
UNSENDABLE = (Group((Rule((Match(principals=(StringMatch(MatchType.EXACT, "\ud800"),)),)),)),)


class Mesh:
    """Model values as inputs, and their encoding."""

    def __init__(self) -> None:
        graph = self.graph = Graph()
        # What these tests say nothing about is that of a mesh without objects.
        nothing = build_world(graph, build_inputs(graph), MeshSettings())
        self.workloads: Input[str, Workload] = graph.input(
            "given workloads", Workload, key=lambda value: value.uid
        )
        self.services: Input[ServiceName, Service] = graph.input(
            "given services", Service, key=lambda value: value.key
        )
        self.policies: Input[Name, Authorization] = graph.input(
            "given policies", Authorization, key=lambda value: value.key
        )
        self.node_policies: Input[tuple[str, Name], tuple[str, Name]] = graph.input(
            "given needs", tuple, key=lambda value: value
        )
        self.traffic = Traffic(graph)
        served, frames = self.traffic.services, self.traffic.frames
        self.world = replace(
            nothing,
            workloads=self.workloads,
            services=self.services,
            authorizations=self.policies,
            node_policies=graph.derive("given names", self.node_policies, lambda _, need: need[1]),
            traffic=self.traffic.collections,
            token_rules=replace(
                nothing.token_rules,
                by_service=graph.derive("no rules of services", served, lambda *_: ()),
                by_waypoint=graph.derive("no rules of waypoints", frames, lambda *_: ()),
            ),
        )
        self.encoded: Encoded = build_encoded(graph, self.world)
        self.waypoints = build_encoded_waypoints(graph, self.world)

    def put(self, *values: Workload | Service | Authorization | tuple[str, Name]) -> None:
        with self.graph.transaction():
            for value in values:
                match value:
                    case Workload():
                        self.workloads.put(value)
                    case Service():
                        self.services.put(value)
                    case Authorization():
                        self.policies.put(value)
                    case _:
                        self.node_policies.put(value)

    @property
    def problems(self) -> list[Problem]:
        return [problem for _, problem in sorted(self.encoded.problems.items())]


POLICY_OBJECT = ObjectReference("AuthorizationPolicy", "apps", "p")


def _groups(resource: Resource | None) -> object:
    assert resource is not None
    return protobuf_json(resource).get("groups")


def test_values_become_resources() -> None:
    mesh = Mesh()
    mesh.put(POD, SERVICE, POLICY)
    assert mesh.encoded.workloads.get(POD.uid) == encode_workload(POD)
    assert mesh.encoded.services.get(SERVICE.key) == encode_service(SERVICE)
    policy = mesh.encoded.authorizations.get(POLICY.key)
    assert policy is not None
    assert policy.resource == encode_authorization(POLICY)
    assert (policy.is_global, policy.refusal) == (False, None)
    assert mesh.problems == []


@pytest.mark.proves("MSG-18")
def test_a_refused_value_is_a_problem_of_its_object_and_holds_nothing_up() -> None:
    mesh = Mesh()
    bad = replace(POD, uid="Kubernetes//Pod/apps/b", name="\ud800")
    worse = replace(SERVICE, hostname="x/y")
    mesh.put(POD, bad, SERVICE, worse)
    assert isinstance(mesh.encoded.workloads.get(POD.uid), Resource)
    assert isinstance(mesh.encoded.services.get(SERVICE.key), Resource)
    assert isinstance(mesh.encoded.workloads.get(bad.uid), Refusal)
    assert isinstance(mesh.encoded.services.get(worse.key), Refusal)
    assert [(problem.object, problem.code, problem.severity) for problem in mesh.problems] == [
        (ObjectReference("Pod", "apps", "b"), REFUSED, Severity.ERROR),
        (ObjectReference("ServiceEntry", "apps", "a"), REFUSED, Severity.ERROR),
    ]
    assert mesh.graph.failures == {}
    assert all(problem.message.isascii() for problem in mesh.problems)


@pytest.mark.refutes("MSG-18")
def test_a_repaired_value_is_no_problem_any_more() -> None:
    mesh = Mesh()
    mesh.put(replace(POD, name="\ud800"))
    assert len(mesh.problems) == 1
    mesh.put(POD)
    assert mesh.problems == []
    assert mesh.encoded.workloads.get(POD.uid) == encode_workload(POD)


@pytest.mark.parametrize(
    ("uid", "reference"),
    [
        ("/networking.istio.io/WorkloadEntry/apps/vm", ("WorkloadEntry", "apps", "vm")),
        ("c/networking.istio.io/ServiceEntry/apps/db/10.0.0.1", ("ServiceEntry", "apps", "db")),
        ("NetworkGateway/west/9.9.9.9/15008", ("Workload", "apps", "a")),
    ],
)
def test_the_object_of_a_workload_is_read_from_its_uid(
    uid: str, reference: tuple[str, str, str]
) -> None:
    mesh = Mesh()
    mesh.put(replace(POD, uid=uid, name="a", hostname="\ud800"))
    assert [problem.object for problem in mesh.problems] == [ObjectReference(*reference)]


def test_two_refused_hostnames_of_one_object_are_two_problems() -> None:
    mesh = Mesh()
    mesh.put(replace(SERVICE, hostname="x/y"), replace(SERVICE, hostname="x/z"))
    assert len(mesh.problems) == 2


@pytest.mark.proves("MSG-19")
@pytest.mark.parametrize(("action", "groups"), [(Action.ALLOW, None), (Action.DENY, [{}])])
def test_a_refused_policy_denies_all_it_covers(action: Action, groups: object) -> None:
    mesh = Mesh()
    mesh.put(replace(POLICY, action=action, groups=UNSENDABLE))
    policy = mesh.encoded.authorizations.get(POLICY.key)
    assert policy is not None
    assert _groups(policy.resource) == groups
    assert [problem.object for problem in mesh.problems] == [POLICY_OBJECT]


@pytest.mark.proves("MSG-19")
def test_a_policy_whose_name_cannot_be_sent_is_left_out() -> None:
    mesh = Mesh()
    mesh.put(replace(POLICY, name="a/b"))
    policy = mesh.encoded.authorizations.get(Name("apps", "a/b"))
    assert policy is not None
    assert policy.resource is None
    assert len(mesh.problems) == 1


@pytest.mark.refutes("MSG-19")
def test_a_policy_without_fault_is_sent_as_written() -> None:
    mesh = Mesh()
    mesh.put(POLICY)
    policy = mesh.encoded.authorizations.get(POLICY.key)
    assert policy is not None
    assert _groups(policy.resource) == [{"rules": [{"matches": [{"destinationPorts": [80]}]}]}]


def test_policies_of_nodes_follow_the_policy_and_leave_out_global_ones() -> None:
    mesh = Mesh()
    everywhere = replace(POLICY, name="g", scope=Scope.GLOBAL)
    mesh.put(POLICY, everywhere, ("node-1", POLICY.key), ("node-1", everywhere.key))
    assert dict(mesh.encoded.node_authorizations.items()) == {
        ("node-1", POLICY.key): encode_authorization(POLICY)
    }
    changed = replace(POLICY, action=Action.DENY)
    mesh.put(changed)
    assert mesh.encoded.node_authorizations.get(("node-1", POLICY.key)) == encode_authorization(
        changed
    )


def test_a_changed_workload_costs_one_rule_call() -> None:
    mesh = Mesh()
    mesh.put(*(replace(POD, uid=f"Kubernetes//Pod/apps/{number}") for number in range(50)))
    before = mesh.graph.rule_calls
    mesh.put(replace(POD, uid="Kubernetes//Pod/apps/7", node="node-2"))
    assert mesh.graph.rule_calls - before == 1
