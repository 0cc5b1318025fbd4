from typing import Any

import pytest

from controlplane.admission.errors import MalformedReviewError
from controlplane.admission.surroundings import MOST_TARGETS, surroundings
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_object
from controlplane.mesh.settings import MeshSettings
from tests.support.admission import CommittedMesh, Json, document

WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.1.0.1, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: first, namespace: shop, creationTimestamp: "2024-01-01T00:00:00Z"}
spec: {hosts: [api.example.com], ports: [{number: 443, name: tls}], resolution: DNS}
"""


@pytest.fixture
def mesh() -> CommittedMesh:
    mesh = CommittedMesh()
    mesh.put(WORLD)
    return mesh


def an_object(kind: str, spec: Any, name: str = "mine", **metadata: Any) -> Json:
    group = {
        "Gateway": "gateway.networking.k8s.io",
        "HTTPRoute": "gateway.networking.k8s.io",
        "GRPCRoute": "gateway.networking.k8s.io",
        "ServiceEntry": "networking.istio.io",
        "WorkloadEntry": "networking.istio.io",
    }.get(kind, "security.istio.io")
    named = {"name": name, "namespace": "shop", **metadata}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": named, "spec": spec}


def a_policy(**spec: Any) -> Json:
    return an_object("AuthorizationPolicy", spec)


LISTENERS = [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]
GATEWAY = {"gatewayClassName": "istio-waypoint", "listeners": LISTENERS}
BAD_BLOCK = [{"from": [{"source": {"ipBlocks": ["10.0.0.0/8", "10.0.0.300"]}}]}]
ENTRY = {"hosts": ["new.example.com"], "ports": [{"number": 80, "name": "http"}]}
TARGET = {"kind": "Service", "name": "web", "group": ""}

GOOD = [
    a_policy(),
    a_policy(rules=[{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/a"]}}]}]),
    a_policy(targetRefs=[TARGET], rules=[{"to": [{"operation": {"methods": ["GET"]}}]}]),
    an_object("PeerAuthentication", {"mtls": {"mode": "STRICT"}}),
    an_object(
        "RequestAuthentication",
        {
            "targetRefs": [TARGET],
            "jwtRules": [{"issuer": "i", "jwksUri": "https://issuer.example/keys"}],
        },
    ),
    an_object("ServiceEntry", ENTRY),
    an_object("WorkloadEntry", {"address": "10.0.0.7"}),
    an_object("Gateway", GATEWAY),
]


@pytest.mark.refutes("AD-9", "AD-10", "AD-12", "AD-13")
@pytest.mark.parametrize("judged", GOOD, ids=lambda judged: str(judged["kind"]))
def test_a_good_object_passes_without_a_word(mesh: CommittedMesh, judged: Json) -> None:
    verdict = mesh.of(judged)
    assert (verdict.errors, verdict.warnings) == ((), ())
    assert verdict.is_judged


BAD = [
    (a_policy(rules=BAD_BLOCK), "spec.rules[0].from[0].source.ipBlocks[1]: "),
    (a_policy(action="MAYBE"), "spec.action: "),
    (a_policy(rules=[{"when": [{"key": "a", "value": []}]}]), "spec.rules[0].when[0].value: "),
    (an_object("PeerAuthentication", {"mtls": {"mode": "SOME"}}), "spec.mtls.mode: "),
    (
        an_object("PeerAuthentication", {"portLevelMtls": {"80": {"mode": "STRICT"}}}),
        "spec.portLevelMtls: ",
    ),
    (an_object("RequestAuthentication", {"jwtRules": [3]}), "spec.jwtRules[0]: "),
    (an_object("RequestAuthentication", {"rules": []}), "spec.rules: "),
    (an_object("ServiceEntry", {**ENTRY, "addresses": ["1.2.3.400"]}), "spec.addresses[0]: "),
    (an_object("ServiceEntry", {"ports": [{"number": 0}]}), "spec.ports[0].number: "),
    (an_object("WorkloadEntry", {"ports": {"http": 70_000}}), "spec.ports.http: "),
    (an_object("WorkloadEntry", {}, labels={"a": 1}), "metadata.labels.a: "),
    (
        an_object("Gateway", GATEWAY, labels={"istio.io/waypoint-for": "nobody"}),
        "metadata.labels[istio.io/waypoint-for]: ",
    ),
    (
        an_object("Gateway", {**GATEWAY, "listeners": [{**LISTENERS[0], "port": 0}]}),
        "spec.listeners[0].port: ",
    ),
]


@pytest.mark.proves("AD-9")
@pytest.mark.parametrize(("judged", "field"), BAD, ids=lambda each: str(each)[:60])
def test_a_bad_object_is_refused_by_the_name_of_the_field(
    mesh: CommittedMesh, judged: Json, field: str
) -> None:
    verdict = mesh.of(judged)
    assert not verdict.is_allowed
    assert [error[: len(field)] for error in verdict.errors] == [field]


@pytest.mark.proves("AD-9")
def test_every_error_is_named(mesh: CommittedMesh) -> None:
    source = {"ipBlocks": ["a"], "notIpBlocks": ["b"]}
    verdict = mesh.of(a_policy(rules=[{"from": [{"source": source}]}]))
    assert len(verdict.errors) == 2


WARNED = [
    (
        a_policy(rules=[{"to": [{"operation": {"methods": ["GET"]}}]}]),
        "spec.rules[0]: ztunnel does not see HTTP attributes: methods",
    ),
    (
        a_policy(targetRefs=[{**TARGET, "name": "absent"}]),
        "spec.targetRefs[0]: Service shop/absent: Service shop/absent was not found",
    ),
    (
        a_policy(targetRefs=[{"kind": "Gateway", "name": "w", "group": "g"}]),
        "spec.targetRefs[0]: Gateway shop/w: not bound",
    ),
    (
        an_object("RequestAuthentication", {"targetRefs": [{**TARGET, "name": "absent"}]}),
        "spec.targetRefs[0]: Service shop/absent: Service shop/absent was not found",
    ),
    (
        an_object("ServiceEntry", ENTRY, labels={"istio.io/use-waypoint": "later"}),
        'metadata.labels[istio.io/use-waypoint]: waypoint "shop/later" is not ready',
    ),
    (
        an_object("WorkloadEntry", {}, labels={"istio.io/use-waypoint": "later"}),
        'metadata.labels[istio.io/use-waypoint]: waypoint "shop/later" is not ready',
    ),
]


@pytest.mark.proves("AD-9", "AD-10")
@pytest.mark.parametrize(("judged", "says"), WARNED, ids=lambda each: str(each)[:60])
def test_what_cannot_take_effect_is_a_warning(mesh: CommittedMesh, judged: Json, says: str) -> None:
    verdict = mesh.of(judged)
    assert verdict.errors == ()
    assert verdict.warnings == (says,)


@pytest.mark.proves("AD-10")
def test_a_hostname_of_somebody_else_is_a_warning(mesh: CommittedMesh) -> None:
    spec = {**ENTRY, "hosts": ["api.example.com"]}
    verdict = mesh.of(an_object("ServiceEntry", spec, creationTimestamp="2025-01-01T00:00:00Z"))
    assert verdict.errors == ()
    assert len(verdict.warnings) == 1
    assert "answers for this hostname in the namespace" in verdict.warnings[0]


@pytest.mark.refutes("AD-10")
def test_an_object_is_no_rival_of_its_former_self(mesh: CommittedMesh) -> None:
    spec = {**ENTRY, "hosts": ["api.example.com"]}
    assert mesh.of(an_object("ServiceEntry", spec, name="first")).warnings == ()


@pytest.mark.proves("AD-10")
def test_a_status_that_a_controller_wrote_refuses_nothing(mesh: CommittedMesh) -> None:
    gateway = {**an_object("Gateway", GATEWAY), "status": {"addresses": [{"value": "nonsense"}]}}
    verdict = mesh.of(gateway, old=gateway)
    assert verdict.is_allowed
    assert verdict.warnings[0].startswith("status.addresses: ")


@pytest.mark.proves("AD-10")
def test_what_a_class_says_is_no_fault_of_its_gateways(mesh: CommittedMesh) -> None:
    mesh.put("""
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: mine, labels: {istio.io/waypoint-for: nobody}}
spec: {controllerName: istio.io/mesh-controller}
""")
    assert mesh.of(an_object("Gateway", {**GATEWAY, "gatewayClassName": "mine"})).errors == ()


@pytest.mark.proves("AD-12")
def test_values_that_no_proxy_could_use_refuse_a_policy_with_targets(mesh: CommittedMesh) -> None:
    verdict = mesh.of(a_policy(targetRefs=[TARGET], rules=BAD_BLOCK))
    assert [error.partition(":")[0] for error in verdict.errors] == [
        "spec.rules[0].from[0].source.ipBlocks[1]"
    ]


@pytest.mark.proves("AD-13")
@pytest.mark.parametrize(
    ("judged", "field"),
    [
        (an_object("PeerAuthentication", {"mtls": {"mode": "DISABLE"}}), "spec.mtls.mode"),
        (
            an_object(
                "PeerAuthentication",
                {
                    "selector": {"matchLabels": {"app": "a"}},
                    "portLevelMtls": {"80": {"mode": "DISABLE"}, "81": {"mode": "STRICT"}},
                },
            ),
            "spec.portLevelMtls[80].mode",
        ),
        (an_object("RequestAuthentication", {"jwtRules": [{"issuer": "i"}]}), "spec.targetRefs"),
        (a_policy(action="AUDIT", rules=[{}]), "spec.action"),
        (a_policy(action="CUSTOM", rules=[{}]), "spec.action"),
        (
            a_policy(action="DENY", rules=[{"to": [{"operation": {"methods": ["GET"]}}]}]),
            "spec.rules[0]",
        ),
        (
            an_object("AuthorizationPolicy", {}, annotations={"istio.io/dry-run": "true"}),
            "metadata.annotations[istio.io/dry-run]",
        ),
    ],
    ids=["mode", "port", "no-target", "audit", "custom", "void", "dry-run"],
)
def test_what_cannot_be_enforced_is_a_warning(
    mesh: CommittedMesh, judged: Json, field: str
) -> None:
    verdict = mesh.of(judged)
    assert verdict.errors == ()
    assert [warning.partition(":")[0] for warning in verdict.warnings] == [field]


BAD_POLICY = a_policy(action="MAYBE")


@pytest.mark.proves("AD-5")
@pytest.mark.parametrize(
    "more",
    [
        {"operation": "DELETE"},
        {"operation": "CONNECT"},
        {"subResource": "status"},
        {"kind": "VirtualService"},
    ],
    ids=str,
)
def test_what_is_not_judged_is_allowed(mesh: CommittedMesh, more: Json) -> None:
    verdict = mesh.of(BAD_POLICY, **more)
    assert verdict.is_allowed
    assert not verdict.is_judged


@pytest.mark.refutes("AD-5")
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_what_is_made_and_changed_is_judged(mesh: CommittedMesh, operation: str) -> None:
    assert not mesh.of(BAD_POLICY, operation=operation).is_allowed


@pytest.mark.proves("AD-5")
@pytest.mark.parametrize(
    "spec",
    [{"gatewayClassName": "nginx", "listeners": [{"port": 0}]}, {"listeners": 3}, [], None],
    ids=str,
)
def test_gateways_of_others_are_allowed(mesh: CommittedMesh, spec: Any) -> None:
    assert not mesh.of(an_object("Gateway", spec)).is_judged


@pytest.mark.refutes("AD-5")
def test_gateways_between_networks_are_ours(mesh: CommittedMesh) -> None:
    spec = {"gatewayClassName": "istio-remote", "listeners": [{"port": 0}]}
    assert not mesh.of(an_object("Gateway", spec)).is_allowed


def test_a_delete_has_no_object(mesh: CommittedMesh) -> None:
    assert mesh.of(None, old=BAD_POLICY, operation="DELETE").is_allowed


@pytest.mark.proves("AD-2")
def test_an_object_to_judge_must_be_there(mesh: CommittedMesh) -> None:
    with pytest.raises(MalformedReviewError, match=r"request\.object: the field is required"):
        mesh.of(None, old=BAD_POLICY, operation="UPDATE")


@pytest.mark.proves("AD-9")
def test_an_object_must_be_of_the_kind_that_is_asked_about(mesh: CommittedMesh) -> None:
    entry = {**an_object("WorkloadEntry", {}), "kind": "ServiceEntry"}
    assert mesh.of(entry, kind="WorkloadEntry").errors == (
        "kind: the object is no WorkloadEntry, as the request says",
    )


@pytest.mark.proves("AD-6")
def test_what_is_being_deleted_is_allowed(mesh: CommittedMesh) -> None:
    dying = an_object("AuthorizationPolicy", {"action": "MAYBE"}, deletionTimestamp="2026-01-01")
    assert mesh.of(dying, old=a_policy()).is_allowed


@pytest.mark.proves("AD-6")
@pytest.mark.refutes("AD-6")
@pytest.mark.parametrize(
    ("ours", "theirs", "is_allowed"),
    [("new", "old", True), ("new", "new", False), ("", "old", False), ("new", None, False)],
)
def test_objects_of_another_revision_are_theirs_to_judge(
    ours: str, theirs: str | None, is_allowed: bool
) -> None:
    mesh = CommittedMesh(MeshSettings(revision=ours))
    labels = {} if theirs is None else {"istio.io/rev": theirs}
    judged = an_object("AuthorizationPolicy", {"action": "MAYBE"}, labels=labels)
    assert mesh.of(judged).is_allowed is is_allowed


@pytest.mark.proves("AD-7")
def test_a_finalizer_comes_off_an_object_that_was_bad_before(mesh: CommittedMesh) -> None:
    old = an_object("AuthorizationPolicy", {"action": "MAYBE"}, finalizers=["a/b"])
    verdict = mesh.of(BAD_POLICY, old=old)
    assert verdict.is_allowed
    assert verdict.warnings[0].startswith("spec.action: ")


@pytest.mark.refutes("AD-7")
def test_what_was_bad_before_is_refused_with_another_spec(mesh: CommittedMesh) -> None:
    assert not mesh.of(a_policy(action="MAYBE", rules=[]), old=BAD_POLICY).is_allowed


@pytest.mark.refutes("AD-7")
def test_a_bad_label_is_refused_though_the_spec_stays(mesh: CommittedMesh) -> None:
    new = an_object("Gateway", GATEWAY, labels={"istio.io/waypoint-for": "nobody"})
    assert not mesh.of(new, old=an_object("Gateway", GATEWAY)).is_allowed


@pytest.mark.proves("AD-8")
def test_a_name_that_is_made_up_later_and_a_namespace_of_the_request_do(
    mesh: CommittedMesh,
) -> None:
    judged = a_policy(targetRefs=[TARGET])
    judged["metadata"] = {"generateName": "a-"}
    assert mesh.of(judged, namespace="shop", name="").warnings == ()
    assert mesh.of(judged, namespace="empty", name="").warnings != ()


@pytest.mark.refutes("AD-8")
def test_an_object_without_any_name_is_refused(mesh: CommittedMesh) -> None:
    judged = {**a_policy(), "metadata": {}}
    assert mesh.of(judged).errors == ("metadata.name: the field is required",)
    assert not mesh.of({**a_policy(), "metadata": []}).is_allowed


@pytest.mark.proves("AD-11")
def test_the_order_of_objects_does_not_matter_and_the_mesh_stays_as_it_is() -> None:
    before, after = CommittedMesh(), CommittedMesh()
    after.put(WORLD)
    for judged in GOOD:
        assert before.of(judged).is_allowed
        assert after.of(judged).is_allowed
    for mesh, size in ((before, 0), (after, 1)):
        assert len(mesh.pipeline.inputs.service_entries) == size
        assert len(mesh.pipeline.inputs.authorization_policies) == 0


@pytest.mark.proves("AD-11")
@pytest.mark.refutes("AD-11")
def test_an_object_is_judged_with_what_it_refers_to_and_nothing_else(mesh: CommittedMesh) -> None:
    for number in range(100):
        mesh.put(f"""
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: shop, labels: {{istio.io/use-waypoint: w{number}}}}}
spec: {{clusterIP: 10.2.0.{number}, ports: [{{port: 80}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: w{number}, namespace: shop}}
spec: {{gatewayClassName: istio-waypoint, listeners: []}}
""")
    few = _read(a_policy(targetRefs=[TARGET]))
    assert sorted(_names(mesh, few)) == [
        "Gateway waypoint",
        "GatewayClass istio-waypoint",
        "Namespace shop",
        "Service web",
    ]
    many = _read(a_policy(targetRefs=[{**TARGET, "name": f"s{n}"} for n in range(100)]))
    # Each target and its waypoint, the namespace and the class.
    assert len(_names(mesh, many)) == 2 * MOST_TARGETS + 2


def _read(judged: Json) -> Manifest:
    found = read_object(judged)
    assert isinstance(found, Manifest), found
    return found


def _names(mesh: CommittedMesh, judged: Manifest) -> list[str]:
    found = surroundings(judged, mesh.pipeline)
    return [f"{each.kind} {each.metadata.name}" for each in found if isinstance(each, Manifest)]


@pytest.mark.proves("AD-11")
def test_the_mesh_configuration_counts(mesh: CommittedMesh) -> None:
    judged = document("""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a, namespace: roots}
spec: {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}
""")
    assert mesh.of(judged).is_allowed
    mesh.put("""
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "rootNamespace: roots"}
""")
    assert [error.partition(":")[0] for error in mesh.of(judged).errors] == ["spec.selector"]


PARENT = {"group": "", "kind": "Service", "name": "web"}
TO_WEB = {"backendRefs": [{"name": "web", "port": 80}]}
ELSEWHERE = {"type": "ExtensionRef", "extensionRef": {"group": "g", "kind": "K", "name": "n"}}


def a_route(*rules: Json, kind: str = "HTTPRoute", **spec: Any) -> Json:
    return an_object(kind, {"parentRefs": [PARENT], "rules": list(rules), **spec})


@pytest.mark.proves("AD-5", "AD-11")
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_good_route_passes_without_a_word(mesh: CommittedMesh, kind: str) -> None:
    found = mesh.of(a_route(TO_WEB, kind=kind))
    assert (found.errors, found.warnings, found.is_judged) == ((), (), True)


@pytest.mark.proves("AD-10", "AD-13")
@pytest.mark.parametrize(
    ("route", "field"),
    [
        (a_route({"backendRefs": [{"name": "nowhere", "port": 80}]}), "spec.rules[0].backendRefs"),
        (a_route(parentRefs=[{**PARENT, "name": "nowhere"}]), "spec.parentRefs[0]"),
        (a_route({**TO_WEB, "filters": [ELSEWHERE]}), "spec.rules[0].filters[0]"),
        (
            a_route({**TO_WEB, "matches": [{"path": {"type": "RegularExpression", "value": "["}}]}),
            "spec.rules[0].matches[0].path",
        ),
    ],
)
def test_what_waypoints_cannot_do_for_a_route_is_a_warning(
    mesh: CommittedMesh, route: Json, field: str
) -> None:
    found = mesh.of(route)
    assert found.is_allowed
    (warning,) = found.warnings
    assert warning.startswith(field)


@pytest.mark.proves("AD-9")
def test_a_route_that_cannot_be_read_is_refused(mesh: CommittedMesh) -> None:
    found = mesh.of(a_route({"backendRefs": [{"name": "web", "port": "eighty"}]}))
    assert not found.is_allowed
    assert found.errors[0].startswith("spec.rules[0].backendRefs[0].port")


@pytest.mark.refutes("AD-5")
@pytest.mark.parametrize(
    "spec",
    [
        {"parentRefs": [{"name": "edge"}], "rules": "broken"},
        {"parentRefs": "broken"},
        {"rules": "broken"},
        "broken",
    ],
)
def test_routes_of_others_are_allowed(mesh: CommittedMesh, spec: Any) -> None:
    assert not mesh.of(an_object("HTTPRoute", spec)).is_judged
