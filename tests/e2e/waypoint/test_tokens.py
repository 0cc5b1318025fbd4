"""Tokens through a real Envoy: which pass, which are refused, and what the application is told."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from controlplane.manifests.istio import (
    AuthorizationRule,
    ClaimHeader,
    RequestAuthentication,
    Source,
    TokenHeader,
    When,
)
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_documents
from controlplane.model.token_rule import FetchedKeySet
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import (
    ALICE,
    BACKEND,
    HOST,
    POD,
    TARGETS,
    VIP,
    WAYPOINT,
    hand_written,
)
from tests.e2e.waypoint.test_data_path import ask
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.envoy_bed import Bed, a_bed
from tests.support.envoy_inline import WaypointResources
from tests.support.tokens import (
    GATEWAY,
    ISSUER,
    a_request_authentication,
    a_token,
    an_issuer,
    key_set,
    public_key,
)
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

OTHER = "https://other.example"
URI = "https://issuer.example/keys"
NAME, NAMESPACE, *_ = HOST.split(".")
PORTS = {80: "http", 7070: "grpc", 9000: "tcp"}


def _resources(*manifests: Manifest, fetched: FetchedKeySet | None = None) -> WaypointResources:
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
    waypoints.apply(
        a_waypoint("waypoint", NAMESPACE),
        a_service(
            NAME,
            NAMESPACE,
            ips=[VIP],
            labels={"istio.io/use-waypoint": "waypoint"},
            selector={"app": NAME},
            ports=[
                a_service_port(port, name=PORTS[port], target_port=target)
                for port, target in TARGETS.items()
            ],
        ),
        a_pod(NAME, NAMESPACE, labels={"app": NAME}, annotations=HBONE, ips=[POD]),
        *manifests,
    )
    if fetched is not None:
        with waypoints.pipeline.graph.transaction():
            waypoints.pipeline.inputs.key_sets.put(fetched)
    (waypoint,) = waypoints.waypoints()
    documents = {
        type_url: [
            {key: value for key, value in each.items() if key != "@type"}
            for each in waypoints.documents(type_url, waypoint).values()
        ]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    return WaypointResources(
        listeners=documents[LISTENER_TYPE],
        clusters=documents[CLUSTER_TYPE],
        routes=documents[ROUTE_TYPE],
        endpoints=documents[ENDPOINT_TYPE],
        secrets=hand_written().secrets,
    )


class Asking:
    """Requests of one client, and what the application saw of the last."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    async def __call__(
        self,
        token: str | None = None,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        async with self._bed.client(ALICE) as alice:
            return await ask(alice, path, method=method, headers=sent)

    async def status(self, *arguments: Any, **rest: Any) -> int:
        return (await self(*arguments, **rest)).status_code

    @property
    def seen(self) -> dict[str, str]:
        request = self._bed.applications.requests[-1]
        return {name.lower(): value for name, value in request.items()}


@asynccontextmanager
async def _asking(
    directory: Path, *manifests: Manifest, fetched: FetchedKeySet | None = None
) -> AsyncIterator[Asking]:
    resources = _resources(*manifests, fetched=fetched)
    async with a_bed(resources, directory, identity=WAYPOINT, pod=POD, pod_identity=BACKEND) as bed:
        yield Asking(bed)


def _unsigned(**claims: Any) -> Iterator[str]:
    """Tokens without a signature, and signed with what everybody knows as if it were a secret."""
    payload = {"iss": ISSUER, "sub": "alice", "exp": 1 << 32, **claims}
    yield jwt.encode(payload, None, algorithm="none", headers={"kid": "one"})
    for secret in (public_key()["x"], key_set()):
        yield jwt.encode(payload, secret * 2, algorithm="HS256", headers={"kid": "one"})


def _tokens(*issuers: Any, **rest: Any) -> RequestAuthentication:
    return a_request_authentication(*issuers, namespace=NAMESPACE, **rest)


def _allowing(*rules: AuthorizationRule) -> Manifest:
    return an_authorization_policy("needs", NAMESPACE, rules=rules, target_references=(GATEWAY,))


@pytest.mark.proves("RA-12", "RA-13", "RA-16", "RA-19")
@pytest.mark.refutes("RA-12", "RA-13", "RA-16", "RA-19")
async def test_who_brings_a_token_brings_a_good_one(tmp_path: Path) -> None:
    async with _asking(tmp_path, _tokens(an_issuer(audiences=("shop", "bank")))) as asking:
        assert await asking.status() == 200
        good = a_token(aud="shop")
        assert await asking.status(good) == 200
        assert "authorization" not in asking.seen
        assert await asking.status(a_token(aud=["x", "bank"])) == 200
        assert await asking.status(path=f"/?access_token={good}") == 200
        assert good not in asking.seen[":path"]
        assert await asking.status(a_token(OTHER, aud="shop")) == 401
        assert await asking.status(a_token(aud="shop", key="other")) == 401
        assert await asking.status(a_token(aud="shop", age=3600)) == 401
        assert await asking.status("garbage") == 401
        for forged in _unsigned(aud="shop"):
            assert await asking.status(forged) == 401
        assert await asking.status(good[:-8] + "AAAAAAAA") == 401
        assert await asking.status(a_token(aud="elsewhere")) == 403
        assert await asking.status(a_token()) == 403
        # A preflight request brings no token, and one that does is not held against it.
        preflight = {"origin": "https://a.example", "access-control-request-method": "GET"}
        assert await asking.status(method="OPTIONS", headers=preflight) == 200
        assert await asking.status("garbage", method="OPTIONS", headers=preflight) == 200
        assert await asking.status("garbage", method="OPTIONS") == 401


@pytest.mark.proves("RA-9", "RA-10")
@pytest.mark.parametrize(
    "issuer",
    [
        an_issuer(keys="no key set"),
        an_issuer(keys='{"keys": [{"kty": "EC"}]}'),
        an_issuer(keys_uri=URI),
        an_issuer("nowhere", keys=""),
    ],
    ids=["not-json", "no-key", "unreachable", "nowhere"],
)
async def test_without_keys_every_token_is_refused(tmp_path: Path, issuer: Any) -> None:
    failed = FetchedKeySet(URI, "", "it cannot be connected to")
    async with _asking(tmp_path, _tokens(issuer), fetched=failed) as asking:
        assert await asking.status() == 200
        assert await asking.status(a_token(issuer.issuer)) == 401
        assert await asking.status("garbage") == 401


@pytest.mark.proves("RA-7")
@pytest.mark.refutes("RA-9", "RA-10")
async def test_fetched_keys_are_used_and_rotate(tmp_path: Path) -> None:
    policy = _tokens(an_issuer(keys_uri=URI))
    for names, good, bad in ((("one",), "one", "two"), (("two",), "two", "one")):
        fetched = FetchedKeySet(URI, key_set(*names))
        async with _asking(tmp_path, policy, fetched=fetched) as asking:
            assert await asking.status(a_token(key=good)) == 200
            assert await asking.status(a_token(key=bad)) == 401


@pytest.mark.proves("RA-14", "RA-17")
@pytest.mark.refutes("RA-14", "RA-17")
async def test_two_issuers_share_a_header_and_neither_speaks_for_the_other(tmp_path: Path) -> None:
    first = an_issuer(claim_headers=(ClaimHeader("x-first", "sub"),))
    second = an_issuer(OTHER, keys=key_set("two"), claim_headers=(ClaimHeader("x-second", "sub"),))
    forged = {"x-first": "root", "x-second": "root"}
    policies = (_tokens(first, name="a"), _tokens(second, name="b"))
    async with _asking(tmp_path, *policies) as asking:
        for issuer, key, told, empty in (
            (ISSUER, "one", "x-first", "x-second"),
            (OTHER, "two", "x-second", "x-first"),
        ):
            assert await asking.status(a_token(issuer, key=key), headers=forged) == 200
            assert asking.seen[told] == "alice"
            assert empty not in asking.seen
        assert await asking.status(headers=forged) == 200
        assert not forged.keys() & asking.seen.keys()
        preflight = {"origin": "https://a.example", "access-control-request-method": "GET"}
        assert await asking.status(method="OPTIONS", headers=forged | preflight) == 200
        assert not forged.keys() & asking.seen.keys()
        assert await asking.status(a_token(ISSUER, key="two")) == 401
        assert await asking.status(a_token(OTHER, key="one")) == 401
        assert await asking.status(a_token("https://third.example")) == 401


@pytest.mark.proves("RA-15")
@pytest.mark.refutes("RA-15")
async def test_two_rules_of_one_issuer_are_met_by_either(tmp_path: Path) -> None:
    rules = (an_issuer(audiences=("shop",)), an_issuer(keys=key_set("two"), audiences=("bank",)))
    async with _asking(tmp_path, _tokens(*rules)) as asking:
        assert await asking.status(a_token(aud="shop")) == 200
        assert await asking.status(a_token(aud="bank", key="two")) == 200
        assert await asking.status(a_token(aud="bank")) in (401, 403)
        assert await asking.status(a_token(aud="shop", key="two")) in (401, 403)


@pytest.mark.proves("RA-16", "RA-17")
@pytest.mark.refutes("RA-16")
async def test_tokens_are_read_where_it_is_said_and_told_where_it_is_said(tmp_path: Path) -> None:
    issuer = an_issuer(
        headers=(TokenHeader("x-token", "Token "),),
        parameters=("ticket",),
        cookies=("session",),
        forwards=True,
        payload_header="x-payload",
        claim_headers=(ClaimHeader("x-group", "group"), ClaimHeader("x-level", "level")),
    )
    async with _asking(tmp_path, _tokens(issuer)) as asking:
        good = a_token(group="staff", level=7)
        for rest in (
            {"headers": {"x-token": f"Token {good}"}},
            {"path": f"/?ticket={good}"},
            {"headers": {"cookie": f"a=b; session={good}"}},
        ):
            assert await asking.status(**rest) == 200
            assert (asking.seen["x-group"], asking.seen["x-level"]) == ("staff", "7")
            payload = asking.seen["x-payload"]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            assert claims["sub"] == "alice"
        assert await asking.status(headers={"x-token": f"Token {good}"}) == 200
        assert asking.seen["x-token"] == f"Token {good}"
        # Nobody looks there: it is some text to the application.
        assert await asking.status("garbage", headers={"x-group": "root"}) == 200
        assert asking.seen["authorization"] == "Bearer garbage"
        assert not {"x-group", "x-payload"} & asking.seen.keys()
        assert await asking.status(headers={"x-token": "Token garbage"}) == 401
        assert await asking.status(path="/?ticket=garbage") == 401


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: by-claim, namespace: %s}
spec:
  parentRefs: [{group: "", kind: Service, name: %s, port: 80}]
  rules:
  - matches: [{headers: [{name: "%s", value: staff}]}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /staff}}
    backendRefs: [{name: %s, port: 80}]
  - backendRefs: [{name: %s, port: 80}]
"""


@pytest.mark.proves("RA-18")
@pytest.mark.refutes("RA-18")
@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ("@request.auth.claims.group", {"group": "staff"}),
        ("@request.auth.claims[group]", {"group": ["guest", "staff"]}),
        ("@request.auth.claims[realm][role]", {"realm": {"role": "staff"}}),
    ],
)
async def test_routes_see_what_tokens_claim(
    tmp_path: Path, header: str, claims: dict[str, Any]
) -> None:
    text = ROUTE % (NAMESPACE, NAME, header, NAME, NAME)
    (route,) = (each.manifest for each in read_documents(text).documents)
    assert isinstance(route, Manifest)
    async with _asking(tmp_path, _tokens(), route) as asking:
        assert (await asking(a_token(**claims), "/a")).text == "/staff"
        assert (await asking(a_token(group="guest"), "/a")).text == "/a"
        assert (await asking(None, "/a")).text == "/a"
        assert (await asking(a_token("https://x", **claims), "/a")).status_code == 401


@pytest.mark.proves("RA-18")
@pytest.mark.refutes("RA-18")
@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (
            AuthorizationRule(sources=(Source(request_principals=(f"{ISSUER}/alice",)),)),
            {},
            {"sub": "alice2"},
        ),
        (
            AuthorizationRule(when=(When("request.auth.claims[group]", ("staff",)),)),
            {"group": "staff"},
            {"group": "staf"},
        ),
        (
            AuthorizationRule(when=(When("request.auth.claims[group]", ("staff",)),)),
            {"group": ["guest", "staff"]},
            {"group": ["guest"]},
        ),
        (
            AuthorizationRule(when=(When("request.auth.claims[realm][roles]", ("admin",)),)),
            {"realm": {"roles": ["admin"]}},
            {"roles": ["admin"]},
        ),
        (
            AuthorizationRule(when=(When("request.auth.claims[scope]", ("write",)),)),
            {"scope": "read write"},
            {"scope": "read writes"},
        ),
        (
            AuthorizationRule(when=(When("request.auth.claims[teams]", ("red",)),)),
            {"teams": "blue red"},
            {"teams": "blue,red"},
        ),
        (
            AuthorizationRule(when=(When("request.auth.audiences", ("shop",)),)),
            {"aud": "shop"},
            {"aud": "shops"},
        ),
        (
            AuthorizationRule(when=(When("request.auth.presenter", ("app",)),)),
            {"azp": "app"},
            {},
        ),
    ],
    ids=["principal", "text", "list", "nested", "scope", "spaces", "audience", "presenter"],
)
async def test_policies_see_what_tokens_claim(
    tmp_path: Path, rule: AuthorizationRule, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    policy = _tokens(an_issuer(lists=("teams",)))
    async with _asking(tmp_path, policy, _allowing(rule)) as asking:
        assert await asking.status(a_token(**good)) == 200
        assert await asking.status(a_token(**bad)) == 403
        assert await asking.status() == 403
