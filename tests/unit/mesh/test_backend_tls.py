"""Which ports are spoken to over TLS, and what authors of policies are told."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.manifests.connections import (
    AlternativeName,
    AuthorityReference,
    BackendTLSPolicy,
    PolicyTarget,
)
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.istio import ServiceEntryPort
from controlplane.manifests.metadata import Manifest
from controlplane.model.backend_tls import BackendTls, CertificateName, NameKind
from controlplane.model.names import Name
from tests.support.authorities import a_root
from tests.support.builders import a_service, a_service_entry, a_service_port, some_metadata
from tests.support.mesh import Mesh

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
PEM = a_root(begins=BEGINS).pem
ROOTS = AuthorityReference("", "ConfigMap", "roots")
WEB = PolicyTarget("", "Service", "web")
WEB_HTTPS = PolicyTarget("", "Service", "web", "https")
PORTS = [a_service_port(80, name="http"), a_service_port(443, name="https")]
OTHER_PEM = a_root(number=5, begins=BEGINS).pem


def roots(text: str = PEM, name: str = "roots") -> ConfigMap:
    return ConfigMap(metadata=some_metadata(name, "shop"), data={"ca.crt": text})


def a_policy(name: str = "secure", *targets: PolicyTarget, **rest: Any) -> BackendTLSPolicy:
    created = rest.pop("created", 0.0)
    namespace = rest.pop("namespace", "shop")
    return BackendTLSPolicy(
        metadata=some_metadata(name, namespace, created=created, generation=4),
        **(
            {
                "targets": targets or (WEB,),
                "hostname": "Web.example",
                "authorities": (ROOTS,),
            }
            | rest
        ),
    )


def a_mesh(*more: Manifest) -> Mesh:
    mesh = Mesh()
    mesh.apply([a_service("web", "shop", ports=PORTS), *more])
    return mesh


def applied(mesh: Mesh) -> dict[int, BackendTls]:
    return {key.port: tls for key, tls in mesh.world.backend_tls.by_port.items()}


def names(mesh: Mesh) -> dict[int, str]:
    return {port: tls.policy.name for port, tls in applied(mesh).items()}


def told(mesh: Mesh, name: str = "secure") -> dict[str, tuple[bool, str]]:
    """Conditions of one policy that has one target."""
    (found,) = [
        each for _, each in mesh.world.backend_tls.ancestors.items() if each.route.name == name
    ]
    assert found.observed_generation == 4
    return {each.type: (each.status, each.reason) for each in found.conditions}


@pytest.mark.proves("BT-1", "BT-7")
@pytest.mark.refutes("BT-4", "BT-5", "BT-6", "BT-9", "BT-12")
def test_a_policy_says_what_endpoints_have_to_show() -> None:
    mesh = a_mesh(roots(), a_policy())
    tls = applied(mesh)[80]
    assert applied(mesh) == {80: tls, 443: tls}
    assert tls.is_usable
    assert (tls.server_name, tls.authorities) == ("web.example", PEM)
    assert tls.names == (CertificateName(NameKind.HOSTNAME, "web.example"),)
    assert told(mesh) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (True, "ResolvedRefs")}
    assert mesh.world.backend_tls.problems.items() == []


@pytest.mark.proves("BT-1")
@pytest.mark.refutes("BT-1")
def test_a_target_may_be_one_port_or_an_entry_and_only_of_the_own_namespace() -> None:
    assert names(a_mesh(roots(), a_policy("secure", WEB_HTTPS))) == {443: "secure"}
    assert names(a_mesh(roots(), a_policy(namespace="bank"))) == {}
    entry = a_service_entry(
        "outside", "shop", ports=[ServiceEntryPort(number=8443, name="api", protocol="HTTP")]
    )
    target = PolicyTarget("networking.istio.io", "ServiceEntry", "outside", "api")
    assert names(a_mesh(roots(), entry, a_policy("secure", target))) == {8443: "secure"}


@pytest.mark.proves("BT-2")
@pytest.mark.refutes("BT-2")
def test_a_named_port_goes_first_then_age() -> None:
    young = a_policy("young", WEB_HTTPS, created=9.0)
    mesh = a_mesh(roots(), a_policy("old", created=1.0), young)
    assert names(mesh) == {80: "old", 443: "young"}
    assert told(mesh, "young")["Accepted"] == (True, "Accepted")
    mesh = a_mesh(roots(), a_policy("old", created=1.0), a_policy("a-young", created=2.0))
    assert names(mesh) == {80: "old", 443: "old"}
    assert told(mesh, "a-young")["Accepted"] == (False, "Conflicted")
    mesh.apply([], removed=[("BackendTLSPolicy", Name("shop", "old"))])
    assert names(mesh) == {80: "a-young", 443: "a-young"}


@pytest.mark.proves("BT-3", "BT-9")
def test_a_policy_that_cannot_be_used_makes_no_room_for_another() -> None:
    mesh = a_mesh(roots(), a_policy("old", created=1.0, hostname=""), a_policy(created=2.0))
    assert not applied(mesh)[80].is_usable
    assert told(mesh)["Accepted"] == (False, "Conflicted")


@pytest.mark.refutes("BT-3")
def test_a_policy_that_lost_is_not_asked() -> None:
    mesh = a_mesh(roots(), a_policy(created=1.0), a_policy("young", created=2.0, hostname=""))
    assert applied(mesh)[80].is_usable


@pytest.mark.proves("BT-4", "BT-5", "BT-6", "BT-8", "BT-9")
@pytest.mark.parametrize(
    ("options", "accepted", "resolved"),
    [
        ({"hostname": ""}, "Invalid", "ResolvedRefs"),
        ({"hostname": "*.example"}, "Invalid", "ResolvedRefs"),
        ({"hostname": "10.0.0.1"}, "Invalid", "ResolvedRefs"),
        ({"authorities": ()}, "NoValidCACertificate", "ResolvedRefs"),
        ({"well_known": "System"}, "NoValidCACertificate", "ResolvedRefs"),
        ({"authorities": (), "well_known": "Mine"}, "Invalid", "ResolvedRefs"),
        (
            {"authorities": (AuthorityReference("", "Secret", "roots"),)},
            "NoValidCACertificate",
            "InvalidKind",
        ),
        (
            {"authorities": (AuthorityReference("", "ConfigMap", "missing"),)},
            "NoValidCACertificate",
            "InvalidCACertificateRef",
        ),
        ({"alternative_names": (AlternativeName("Mail", "a"),)}, "Invalid", "ResolvedRefs"),
        ({"alternative_names": (AlternativeName("URI", "no uri"),)}, "Invalid", "ResolvedRefs"),
        ({"alternative_names": (AlternativeName("Hostname", "_"),)}, "Invalid", "ResolvedRefs"),
    ],
)
def test_where_a_policy_cannot_be_used_nothing_can_be_sent(
    options: dict[str, Any], accepted: str, resolved: str
) -> None:
    mesh = a_mesh(roots(), a_policy(**options))
    assert [tls.is_usable for tls in applied(mesh).values()] == [False, False]
    assert told(mesh)["Accepted"] == (False, accepted)
    assert told(mesh)["ResolvedRefs"] == (resolved == "ResolvedRefs", resolved)
    codes = {problem.code for _, problem in mesh.world.backend_tls.problems.items()}
    assert codes == {"backend-tls.not-in-force"}


@pytest.mark.proves("BT-5")
def test_the_authorities_of_the_system_are_those_of_the_waypoint() -> None:
    tls = applied(a_mesh(a_policy(authorities=(), well_known="System")))[80]
    assert (tls.is_usable, tls.authorities) == (True, "")


@pytest.mark.proves("BT-7")
@pytest.mark.refutes("BT-7")
def test_certificates_of_a_config_map_count_and_nothing_else_of_it() -> None:
    both = (ROOTS, AuthorityReference("", "ConfigMap", "more"))
    mesh = a_mesh(roots(f"# ours\n{PEM}\n{PEM}rest"), a_policy(authorities=both))
    assert applied(mesh)[80].authorities == PEM
    assert told(mesh)["ResolvedRefs"] == (False, "InvalidCACertificateRef")
    mesh.apply([roots(OTHER_PEM, "more")])
    assert applied(mesh)[80].authorities == PEM + OTHER_PEM
    assert told(mesh)["ResolvedRefs"] == (True, "ResolvedRefs")
    mesh.apply([roots("no certificate"), roots("", "more")])
    assert not applied(mesh)[80].is_usable


@pytest.mark.proves("BT-8")
@pytest.mark.refutes("BT-8")
def test_alternative_names_stand_in_for_the_hostname() -> None:
    names = (AlternativeName("Hostname", "*.a.example"), AlternativeName("URI", "spiffe://x/y"))
    tls = applied(a_mesh(roots(), a_policy(alternative_names=names)))[80]
    assert tls.server_name == "web.example"
    assert tls.names == (
        CertificateName(NameKind.HOSTNAME, "*.a.example"),
        CertificateName(NameKind.URI, "spiffe://x/y"),
    )


@pytest.mark.proves("BT-12")
@pytest.mark.parametrize(
    "target",
    [
        PolicyTarget("", "Service", "missing"),
        PolicyTarget("", "Service", "web", "no-such-port"),
        PolicyTarget("gateway.networking.k8s.io", "Gateway", "web"),
    ],
)
def test_a_target_that_is_not_there_is_told_so(target: PolicyTarget) -> None:
    mesh = a_mesh(roots(), a_policy("secure", target))
    assert applied(mesh) == {}
    assert told(mesh)["Accepted"] == (False, "TargetNotFound")
