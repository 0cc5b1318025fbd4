"""What namespaces may do to each other at a waypoint: nothing that its owner did not say."""

import asyncio
import json
from pathlib import Path
from typing import Any

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

ADDRESS = "10.96.77.1"


def two_tenants() -> list[dict[str, Any]]:
    """Return a shop whose vault is for its manager alone, and a mall with a client."""
    manager = "cluster.local/ns/shop/sa/manager"
    return [
        *a_cluster("shop", "mall"),
        a_waypoint(),
        *an_application("web"),
        a_service("web", waypoint="waypoint"),
        *an_application("vault"),
        a_service("vault", waypoint="waypoint"),
        a_document(
            "AuthorizationPolicy",
            "vault",
            spec={
                "targetRefs": [{"group": "", "kind": "Service", "name": "vault"}],
                "action": "ALLOW",
                "rules": [{"from": [{"source": {"principals": [manager]}}]}],
            },
        ),
        *an_application("manager"),
        *an_application("bob", "mall"),
        *an_application("stall", "mall"),
        a_service("stall", "mall"),
    ]


def a_consumer_route(*rules: dict[str, Any]) -> dict[str, Any]:
    """Return what the mall says about its own requests to the shop's web."""
    parent = {"group": "", "kind": "Service", "name": "web", "namespace": "shop"}
    return a_document(
        "HTTPRoute", "around", "mall", spec={"parentRefs": [parent], "rules": list(rules)}
    )


def _to(path: str, name: str, namespace: str) -> dict[str, Any]:
    return {
        "matches": [{"path": {"type": "Exact", "value": path}}],
        "backendRefs": [{"name": name, "namespace": namespace, "port": 80}],
    }


async def test_a_consumer_does_not_get_around_the_policies_of_others(tmp_path: Path) -> None:
    route = a_consumer_route(
        _to("/vault", "vault", "shop"),
        _to("/stall", "stall", "mall"),
        _to("/itself", "web", "shop"),
    )
    async with a_lab(tmp_path, *two_tenants(), route) as (mesh, _):
        refused = await mesh.request("bob", "http://vault.shop/")
        assert refused.status == 403
        around = await mesh.request("bob", "http://web.shop/vault")
        assert around.status == 500
        assert [each.destination_workload for each in around.records if "vault" in str(each)] == []
        assert (await mesh.request("bob", "http://web.shop/stall")).status == 200
        assert (await mesh.request("bob", "http://web.shop/itself")).status == 200
        # Nobody else is concerned.
        assert (await mesh.request("manager", "http://web.shop/vault")).status == 200


def _shared(document: dict[str, Any]) -> dict[str, Any]:
    """Return a service that is bound to the waypoint of the namespace infra."""
    labels = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "infra"}
    return {**document, "metadata": {**document["metadata"], "labels": labels}}


def a_shared_mesh(*documents: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a waypoint that serves every namespace, the shop's web behind it, and the mall."""
    gateway = a_waypoint(namespace="infra")
    web = a_service("web")
    web["spec"]["clusterIP"] = ADDRESS
    gateway["spec"]["listeners"][0]["allowedRoutes"] = {"namespaces": {"from": "All"}}
    return [
        *a_cluster("infra", "shop", "mall"),
        gateway,
        *an_application("web"),
        _shared(web),
        *an_application("stall", "mall"),
        a_service("stall", "mall"),
        *documents,
    ]


def a_claim(name: str, host: str, address: str) -> dict[str, Any]:
    """Return what the mall says is its own: a host, or the address of somebody else's service."""
    port = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}
    spec = {
        "hosts": [host],
        "addresses": [address],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [port],
        "workloadSelector": {"labels": {"app": "stall"}},
    }
    return _shared(a_document("ServiceEntry", name, "mall", spec=spec))


async def _answered(mesh: Lab, url: str) -> str:
    """Return whose application answers."""
    answer = await mesh.request("mall/stall", url)
    assert (answer.status, answer.failure) == (200, "")
    return str(json.loads(answer.body)["service"])


async def test_nobody_takes_the_address_or_the_name_of_a_service(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shared_mesh()) as (mesh, folder):
        assert await _answered(mesh, "http://web.shop/") == "web"
        claims = [
            a_claim("address", "mall.example.com", ADDRESS),
            a_claim("name", "web.shop.svc.cluster.local", ADDRESS),
            a_claim("own", "own.example.com", "240.240.0.77"),
        ]
        write(folder, "claims.yaml", *claims)
        await mesh.until(lambda: _knows(mesh, "own.example.com"), "the claims arrive")
        # Node proxies may hear of it before the waypoint does.
        while await _status(mesh, "http://own.example.com/") != 200:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
        assert await _answered(mesh, "http://own.example.com/") == "stall"
        assert await _answered(mesh, "http://web.shop/") == "web"
        assert await _answered(mesh, f"http://{ADDRESS}/") == "web"
        rejected = await mesh.waypoint("infra/waypoint").envoy.stats("update_rejected")
        assert set(rejected.values()) == {0}


async def test_what_a_route_writes_is_no_command(tmp_path: Path) -> None:
    commands = ["%DOWNSTREAM_PEER_URI_SAN%", "%%FILTER_STATE(io.istio.peer_principal:PLAIN)%%", "%"]
    values = [{"name": f"x-written-{index}", "value": text} for index, text in enumerate(commands)]
    changes = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": values}}]
    two_lines = [{"name": "x-first", "value": "first\r\nx-second: second"}]
    broken = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": two_lines}}]
    backends = [{"name": "web", "port": 80}]
    route = a_document(
        "HTTPRoute",
        "written",
        spec={
            "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "Exact", "value": "/broken"}}],
                    "filters": broken,
                    "backendRefs": backends,
                },
                {"filters": changes, "backendRefs": backends},
            ],
        },
    )
    async with a_lab(tmp_path, *two_tenants(), route) as (mesh, _):
        answer = await mesh.request("bob", "http://web.shop/")
        assert answer.status == 200
        assert [answer.headers[each["name"]] for each in values] == commands
        answer = await mesh.request("bob", "http://web.shop/broken")
        assert answer.status == 500
        assert not {"x-first", "x-second"} & set(answer.headers)


def _knows(mesh: Lab, hostname: str) -> bool:
    return all(
        any(key.hostname == hostname for key in node.state.services.by_key)
        for node in mesh.nodes.values()
    )


async def _status(mesh: Lab, url: str) -> int:
    return (await mesh.request("mall/stall", url)).status
