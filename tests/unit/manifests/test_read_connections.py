"""TCPRoutes, TLSRoutes, BackendTLSPolicies, and the ConfigMaps that these name."""

import pytest

from controlplane.manifests.connections import (
    AlternativeName,
    AuthorityReference,
    BackendReference,
    BackendTLSPolicy,
    ConnectionRoute,
    ConnectionRule,
    PolicyTarget,
)
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.reading import read_documents
from controlplane.model.route_parent import ParentReference
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: gateway.networking.k8s.io/{}\nkind: {}\nmetadata: {{name: a}}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {x: y}}\ndata: "


@pytest.mark.proves("MF-3")
@pytest.mark.parametrize(
    ("kind", "version"),
    [("TCPRoute", "v1"), ("TCPRoute", "v1alpha2"), ("TLSRoute", "v1"),
     ("TLSRoute", "v1alpha2"), ("TLSRoute", "v1alpha3")],
)  # fmt: skip
def test_routes_of_connections_are_read(kind: str, version: str) -> None:
    found = manifest_of(
        HEAD.format(version, kind)
        + """
spec:
  parentRefs:
  - {group: "", kind: Service, name: web, port: 80}
  - {name: gateway, sectionName: one, namespace: other}
  hostnames: [a.example]
  rules:
  - backendRefs: [{name: b, port: 1}, {group: g, kind: K, namespace: n, name: c, weight: 0}]
  - {}
"""
    )
    assert isinstance(found, ConnectionRoute)
    assert found.kind == kind
    gateway = ("gateway.networking.k8s.io", "Gateway", "other", "gateway", "one")
    assert found.parents == (
        ParentReference("", "Service", "", "web", port=80),
        ParentReference(*gateway),
    )
    assert found.hostnames == (("a.example",) if kind == "TLSRoute" else ())
    backends = (BackendReference("b", port=1), BackendReference("c", "g", "K", "n", weight=0))
    assert found.rules == (ConnectionRule(backends), ConnectionRule())


@pytest.mark.refutes("MF-3")
def test_versions_that_nobody_uses_are_refused() -> None:
    for kind, version in (("TCPRoute", "v1alpha3"), ("BackendTLSPolicy", "v1alpha2")):
        assert problem_of(HEAD.format(version, kind)).field == "apiVersion"


@pytest.mark.proves("MF-12")
def test_a_weight_is_a_share() -> None:
    text = HEAD.format("v1alpha2", "TCPRoute") + "spec: {rules: [{backendRefs: [{name: b, %s}]}]}\n"
    assert problem_of(text % "weight: -1").field == "spec.rules[0].backendRefs[0].weight"
    assert problem_of(text % "port: 70000").field == "spec.rules[0].backendRefs[0].port"


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
def test_policies_of_backends_are_read(version: str) -> None:
    found = manifest_of(
        HEAD.format(version, "BackendTLSPolicy")
        + """
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: https}]
  validation:
    hostname: web.example
    wellKnownCACertificates: System
    caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]
    subjectAltNames:
    - {type: Hostname, hostname: a.example}
    - {type: URI, uri: spiffe://a/b}
"""
    )
    assert isinstance(found, BackendTLSPolicy)
    assert found.targets == (PolicyTarget("", "Service", "web", "https"),)
    assert (found.hostname, found.well_known) == ("web.example", "System")
    assert found.authorities == (AuthorityReference("", "ConfigMap", "roots"),)
    assert found.alternative_names == (
        AlternativeName("Hostname", "a.example"),
        AlternativeName("URI", "spiffe://a/b"),
    )


def test_an_empty_policy_asks_for_nothing() -> None:
    found = manifest_of(HEAD.format("v1", "BackendTLSPolicy"))
    assert isinstance(found, BackendTLSPolicy)
    assert (found.targets, found.hostname, found.authorities) == ((), "", ())


@pytest.mark.proves("MF-24")
def test_of_a_config_map_the_authorities_are_kept() -> None:
    found = manifest_of(CONFIG_MAP + "{ca.crt: pem, other: secret}\n")
    assert isinstance(found, ConfigMap)
    assert (found.data, found.metadata.labels) == ({"ca.crt": "pem"}, {})
    odd = manifest_of(CONFIG_MAP + "{ca.crt: [1]}\n")
    assert isinstance(odd, ConfigMap)
    assert odd.data == {}


@pytest.mark.refutes("MF-24")
def test_config_maps_without_authorities_are_left_alone() -> None:
    for data in ("{other: secret}", "{}", "null", "[]"):
        reading = read_documents(CONFIG_MAP + data)
        assert (reading.documents, reading.problems) == ((), ())
