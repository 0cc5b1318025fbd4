"""Names by which a mesh is also known: whose certificates are accepted, and what policies mean."""

from typing import Any

import pytest

from controlplane.insight.http_decision import Caller, HttpRequest, decide
from controlplane.manifests.istio import AuthorizationRule, Source, TargetReference, When
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.mesh.trust_domains import in_every_domain
from controlplane.model.http_policy import Attribute, Wildcard
from controlplane.model.policy import MatchType, StringMatch
from controlplane.snapshots.scope import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.support.builders import an_authorization_policy
from tests.support.waypoint_snapshots import Waypoints
from tests.unit.pipeline.test_waypoint_encoding import WEB_HTTP, a_web, a_web_pod, the_waypoint

DOMAINS = ("td", "old.td")
WEB = TargetReference(kind="Service", name="web")


def _verdict(identity: str, action: str, source: Source, *, when: tuple[When, ...] = ()) -> bool:
    rule = AuthorizationRule(sources=(source,), when=when)
    manifest = an_authorization_policy(action=action, rules=[rule], target_references=(WEB,))
    translation = translate_http_policy(manifest, trust_domains=DOMAINS)
    assert translation.policy is not None
    request = HttpRequest(caller=Caller(identity=identity))
    return decide(request, [translation.policy]).is_allowed


@pytest.mark.proves("HP-22")
@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("written", ["td/ns/shop/sa/a", "old.td/ns/shop/sa/a", "td/ns/shop/*"])
def test_a_principal_of_one_domain_is_that_of_every_other(domain: str, written: str) -> None:
    identity = f"spiffe://{domain}/ns/shop/sa/a"
    assert _verdict(identity, "ALLOW", Source(principals=(written,)))
    assert not _verdict(identity, "DENY", Source(principals=(written,)))
    assert not _verdict(identity, "ALLOW", Source(not_principals=(written,)))


@pytest.mark.refutes("HP-22")
@pytest.mark.parametrize(
    "identity",
    [
        "spiffe://td.evil/ns/shop/sa/a",
        "spiffe://old.td.evil/ns/shop/sa/a",
        "spiffe://oldXtd/ns/shop/sa/a",
        "spiffe://evil/td/ns/shop/sa/a",
        "spiffe://evil/ns/shop/sa/a",
        "spiffe://old.td/ns/shop/sa/ab",
    ],
)
def test_no_other_domain_is_let_in(identity: str) -> None:
    assert not _verdict(identity, "ALLOW", Source(principals=("td/ns/shop/sa/a",)))


@pytest.mark.refutes("HP-22")
def test_domains_of_others_and_parts_of_a_domain_stand_for_themselves() -> None:
    for text in ("other/ns/shop/sa/a", "tdx/ns/a/sa/b", "td"):
        match = StringMatch(MatchType.EXACT, text)
        assert in_every_domain(Attribute.PRINCIPAL, match, DOMAINS) == (match,)
    for parts in (("t", ""), ("other",)):
        assert in_every_domain(Attribute.TRUST_DOMAIN, Wildcard(parts), DOMAINS) == (
            Wildcard(parts),
        )
    suffix = StringMatch(MatchType.SUFFIX, "td/ns/a")
    assert in_every_domain(Attribute.PRINCIPAL, suffix, DOMAINS) == (suffix,)


@pytest.mark.proves("HP-22")
def test_a_condition_on_the_trust_domain_means_all_of_them() -> None:
    when = (When(key="source.trustDomain", values=("td",)),)
    any_namespace = Source(namespaces=("*",))
    assert _verdict("spiffe://old.td/ns/a/sa/b", "ALLOW", any_namespace, when=when)
    assert not _verdict("spiffe://td.evil/ns/a/sa/b", "ALLOW", any_namespace, when=when)


def _prefixes(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for each in part for found in _prefixes(each)]
    if not isinstance(part, dict):
        return []
    own = [each["matcher"]["prefix"] for each in part.get("match_typed_subject_alt_names", ())]
    return own + [found for each in part.values() for found in _prefixes(each)]


@pytest.mark.proves("WC-14", "WC-15")
def test_certificates_of_every_domain_are_accepted_both_ways() -> None:
    waypoints = Waypoints()
    waypoints.apply(the_waypoint(), MeshConfig(trust_domain="td", trust_domain_aliases=("old.td",)))
    expected = ["spiffe://td/", "spiffe://old.td/"]
    assert _prefixes(waypoints.documents(LISTENER_TYPE)["connect_terminate"]) == expected
    assert _prefixes(waypoints.documents(CLUSTER_TYPE)["connect_originate"]) == expected


def test_an_alias_that_comes_reaches_the_policies() -> None:
    waypoints = Waypoints()
    rule = AuthorizationRule(sources=(Source(principals=("td/ns/a/sa/b",)),))
    policy = an_authorization_policy("p", "shop", rules=[rule], target_references=(WEB,))
    waypoints.apply(the_waypoint(), a_web(), a_web_pod(), policy, MeshConfig(trust_domain="td"))
    assert "old.td" not in str(waypoints.documents(ROUTE_TYPE)[WEB_HTTP])
    waypoints.apply(MeshConfig(trust_domain="td", trust_domain_aliases=("old.td",)))
    assert "spiffe://old.td/ns/a/sa/b" in str(waypoints.documents(ROUTE_TYPE)[WEB_HTTP])
