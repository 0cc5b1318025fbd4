"""What namespaces may do to each other at a waypoint: nothing that its owner did not say."""

from pathlib import Path
from typing import Any

from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
)


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
