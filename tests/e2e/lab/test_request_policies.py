"""Who may do what: situations of policies at a waypoint, from manifests to what clients see."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)
from tests.support.lab_policies import Enforcement, a_policy, operation, principal, source
from tests.support.tokens import ISSUER, a_token, key_set

pytestmark = pytest.mark.timeout(60)

CALLS = (
    ("sleep", "GET", "http://web/open"),
    ("sleep", "DELETE", "http://web/open"),
    ("sleep", "GET", "http://web/closed/in"),
    ("notsleep", "GET", "http://web/open"),
    ("buyer", "GET", "http://web.shop/open"),
    ("sleep", "GET", "http://other/open"),
    ("sleep", "GET", "http://api.example/open"),
)
"""Who, how and what: two of the namespace, one of another; another Service, a ServiceEntry."""
ALL = "+++++++"
SLEEP = source(principals=[principal("sleep")])
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
CLASS = {"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}
ENTRY = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "api"}
SERVICE = {"group": "", "kind": "Service", "name": "web"}

PROVIDERS = {
    "extensionProviders": [
        {
            "name": name,
            "envoyExtAuthzHttp": {
                "service": "judge.shop.svc.cluster.local",
                "port": 80,
                "pathPrefix": prefix,
            },
        }
        for name, prefix in (("yes", "/status/200"), ("no", "/status/401"))
    ]
}


def _targeting(target: Mapping[str, str], namespace: str = "shop", **rest: Any) -> dict[str, Any]:
    spec = {"targetRefs": [dict(target)], "action": "DENY", "rules": [{}], **rest}
    return a_document("AuthorizationPolicy", "policy", namespace, spec=spec)


def _asking(provider: str) -> dict[str, Any]:
    policy = a_policy("CUSTOM", operation(paths=["/closed/*"]), name="ask", service="web")
    policy["spec"]["provider"] = {"name": provider}
    return policy


def _for_web(action: str, *rules: Mapping[str, Any], **rest: Any) -> list[dict[str, Any]]:
    return [a_policy(action, *rules, service="web", **rest)]


TARGETS = {
    "a Service": ([_targeting(SERVICE)], "-----++"),
    "a ServiceEntry": ([_targeting(ENTRY)], "++++++-"),
    "the waypoint": ([_targeting(GATEWAY)], "-------"),
    "its class, in the root namespace": ([_targeting(CLASS, "istio-system")], "-------"),
    "its class, elsewhere": ([_targeting(CLASS)], ALL),
    "a Service of another namespace": ([_targeting(SERVICE, "market")], ALL),
    "nothing: that is for node proxies": (
        [a_policy("DENY", SLEEP)],
        # They see the waypoint, whoever sleep is; what comes straight from sleep ends there.
        ALL,
    ),
}

FIELDS = {
    "ALLOW by principal": (_for_web("ALLOW", SLEEP), "+++--++"),
    "ALLOW by namespace": (_for_web("ALLOW", source(namespaces=["shop"])), "++++-++"),
    "ALLOW by service account": (
        _for_web("ALLOW", source(serviceAccounts=["market/buyer"])),
        "----+++",
    ),
    "ALLOW a method": (_for_web("ALLOW", operation(methods=["GET"])), "+-+++++"),
    "ALLOW a path's beginning": (_for_web("ALLOW", operation(paths=["/clo*"])), "--+--++"),
    "ALLOW a path's ending": (_for_web("ALLOW", operation(paths=["*/in"])), "--+--++"),
    "ALLOW a template of paths": (_for_web("ALLOW", operation(paths=["/{*}/in"])), "--+--++"),
    "ALLOW a host": (_for_web("ALLOW", operation(hosts=["WEB"])), "++++-++"),
    "DENY a method of one": (
        _for_web("DENY", {**SLEEP, **operation(methods=["DELETE"])}),
        "+-+++++",
    ),
    "DENY all but a path": (_for_web("DENY", operation(notPaths=["/open"])), "++-++++"),
    "ALLOW the port of the Service": (_for_web("ALLOW", operation(ports=["80"])), ALL),
    "ALLOW the port of the pods": (_for_web("ALLOW", operation(ports=["8080"])), "-----++"),
    "ALLOW with a header": (
        _for_web("ALLOW", {"when": [{"key": "request.headers[x-team]", "values": ["*"]}]}),
        "-----++",
    ),
    "DENY wins over ALLOW": (
        [
            a_policy("ALLOW", {}, name="all", service="web"),
            a_policy("DENY", SLEEP, name="sleep", service="web"),
        ],
        "---++++",
    ),
    "AUDIT blocks nothing": (_for_web("AUDIT", {}), ALL),
    "a dry run blocks nothing": (_for_web("DENY", {}, dry_run=True), ALL),
    "ALLOW without rules lets nobody": (_for_web("ALLOW"), "-----++"),
    "DENY without rules keeps nobody": (_for_web("DENY"), ALL),
}

ASKING = {
    "who is asked says yes": ([_asking("yes")], ALL),
    "who is asked says no": ([_asking("no")], "++-++++"),
    "who is asked does not exist": ([_asking("missing")], "++-++++"),
    "yes is no more than what ALLOW says": (
        [_asking("yes"), a_policy("ALLOW", source(namespaces=["market"]), service="web")],
        "----+++",
    ),
}


@asynccontextmanager
async def _a_market(directory: Path) -> AsyncIterator[Enforcement]:
    entry = a_document(
        "ServiceEntry",
        "api",
        labels={"istio.io/use-waypoint": "waypoint"},
        spec={
            "hosts": ["api.example"],
            "addresses": ["10.200.0.9"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
            "workloadSelector": {"labels": {"app": "other"}},
        },
    )
    async with a_lab(
        directory,
        *a_cluster("shop", "market"),
        a_waypoint(),
        *an_application("web"),
        a_service("web", waypoint="waypoint"),
        a_service("sentinel", selector={"app": "web"}, waypoint="waypoint"),
        *an_application("other"),
        a_service("other", waypoint="waypoint"),
        entry,
        *an_application("judge"),
        a_service("judge"),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
        *an_application("buyer", "market"),
        a_service("buyer", "market"),
    ) as (mesh, folder):
        write(folder, "meshconfig.yaml", PROVIDERS)
        yield Enforcement(mesh, folder)


async def _verdicts(mesh: Lab) -> str:
    found = ""
    for client, method, url in CALLS:
        answer = await mesh.request(client, url, method=method)
        assert answer.status in {200, 401, 403}, (client, method, url, answer)
        found += "+" if answer.status == 200 else "-"
    return found


@pytest.mark.parametrize(
    "situations", [TARGETS, FIELDS, ASKING], ids=["targets", "fields", "asking"]
)
async def test_who_may_do_what(tmp_path: Path, situations: dict[str, Any]) -> None:
    async with _a_market(tmp_path) as enforcement:
        assert await _verdicts(enforcement.mesh) == ALL
        found = {}
        for name, (documents, _) in situations.items():
            await enforcement.at_waypoint(*documents)
            found[name] = await _verdicts(enforcement.mesh)
        assert found == {name: expected for name, (_, expected) in situations.items()}
        await enforcement.at_waypoint()
        assert await _verdicts(enforcement.mesh) == ALL


async def test_addresses_are_those_of_clients_and_headers_change_nothing(tmp_path: Path) -> None:
    async with _a_market(tmp_path) as enforcement:
        mesh = enforcement.mesh
        address = str(enforcement.address("sleep"))
        await enforcement.at_waypoint(
            a_policy("ALLOW", source(ipBlocks=[address]), service="web"),
        )
        assert (await mesh.request("sleep", "http://web/")).status == 200
        forged = {"x-forwarded-for": address, "x-envoy-external-address": address}
        answer = await mesh.request("notsleep", "http://web/", headers=forged)
        assert answer.status == 403


async def test_tokens_are_read_and_policies_see_them(tmp_path: Path) -> None:
    rule = {"issuer": ISSUER, "jwks": key_set("one")}
    tokens = a_document(
        "RequestAuthentication", "tokens", spec={"targetRefs": [SERVICE], "jwtRules": [rule]}
    )
    needed = a_policy("DENY", source(notRequestPrincipals=["*"]), name="needed", service="web")
    staff = {"when": [{"key": "request.auth.claims[team]", "values": ["staff"]}]}
    cases = {
        "nothing": (None, "open", 200),
        "garbage": ("garbage", "open", 401),
        "another key": (a_token(key="two"), "open", 401),
        "another issuer": (a_token("https://elsewhere.example"), "open", 401),
        "expired": (a_token(age=7200), "open", 401),
        "good": (a_token(), "open", 200),
        "nothing where one is needed": (None, "needed", 403),
        "good where one is needed": (a_token(), "needed", 200),
        "good without the claim": (a_token(), "staff", 403),
        "good with the claim": (a_token(team="staff"), "staff", 200),
        "good with another claim": (a_token(team="guests"), "staff", 403),
    }
    policies = {
        "open": [tokens],
        "needed": [tokens, needed],
        "staff": [tokens, a_policy("ALLOW", staff, name="staff", service="web")],
    }
    async with _a_market(tmp_path) as enforcement:
        found = {}
        for policy, documents in policies.items():
            await enforcement.at_waypoint(*documents)
            for name, (token, under, _) in cases.items():
                if under == policy:
                    headers = {} if token is None else {"authorization": f"Bearer {token}"}
                    answer = await enforcement.mesh.request("sleep", "http://web/", headers=headers)
                    found[name] = answer.status
        assert found == {name: status for name, (_, _, status) in cases.items()}


async def test_only_what_matches_is_asked_about(tmp_path: Path) -> None:
    async with _a_market(tmp_path) as enforcement:
        mesh = enforcement.mesh
        await enforcement.at_waypoint(_asking("yes"))
        for path, is_asked in (("open", False), ("closed/in", True)):
            answer = await mesh.request("sleep", f"http://web/{path}")
            assert answer.status == 200
            reached = {each.destination_workload.partition("-")[0] for each in answer.records}
            assert ("judge" in reached) is is_asked
