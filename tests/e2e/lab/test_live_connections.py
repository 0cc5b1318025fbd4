"""What edits of clusters, endpoints and routes of bytes do to connections that are open."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from tests.e2e.lab.test_live_waypoint import WAYPOINT, KeptAlive, a_shop
from tests.support.lab_mesh import a_lab, a_service, write


def a_shop_of_bytes(**of_web: Any) -> list[dict[str, Any]]:
    """Return the shop with a service whose port is passed on as bytes."""
    others = [
        each for each in a_shop() if (each["kind"], each["metadata"]["name"]) != ("Service", "web")
    ]
    return [*others, a_service("web", waypoint="waypoint", port_name="tcp", **of_web)]


def a_policy_that_cannot_be_used() -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "validation": {
                "hostname": "web.example",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "missing"}],
            },
        },
    }


def a_tcp_route(*backends: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1alpha2",
        "kind": "TCPRoute",
        "metadata": {"name": "bytes", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "rules": [{"backendRefs": [{"name": name, "port": 80} for name in backends]}],
        },
    }


async def until(asked: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(250):
        if await asked():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never happened")


async def is_open(mesh: Lab) -> bool:
    """Return whether a new connection gets an answer."""
    return (await mesh.request("sleep", "http://web/")).status == 200


@pytest.mark.proves("WC-71")
@pytest.mark.parametrize("documents", [a_shop(), a_shop_of_bytes()], ids=["http", "bytes"])
async def test_endpoints_that_go_keep_their_connections_and_get_no_new_ones(
    tmp_path: Path, documents: list[dict[str, Any]]
) -> None:
    first, second = (
        [
            {**each, "spec": {**each["spec"], "selector": {"app": "web", "version": version}}}
            if (each["kind"], each["metadata"]["name"]) == ("Service", "web")
            else each
            for each in documents
        ]
        for version in ("v1", "v2")
    )
    async with a_lab(tmp_path, *first) as (mesh, folder):
        kept = [await KeptAlive.open(mesh, "sleep") for _ in range(4)]
        assert [await each.get() for each in kept] == [200] * 4
        envoy = mesh.waypoint(WAYPOINT).envoy
        before = await envoy.stats("update_rejected")
        write(folder, "mesh.yaml", *second)

        async def has_moved() -> bool:
            found = await mesh.request("sleep", "http://web/")
            return found.status == 200 and b"web-v2" in found.body

        await until(has_moved)
        assert [await each.get() for each in kept] == [200] * 4
        assert await envoy.stats("update_rejected") == before


@pytest.mark.proves("WC-71")
async def test_a_cluster_that_changes_keeps_its_connections(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shop_of_bytes()) as (mesh, folder):
        kept = await KeptAlive.open(mesh, "sleep")
        assert await kept.get() == 200
        write(folder, "policy.yaml", a_policy_that_cannot_be_used())

        async def is_closed() -> bool:
            return not await is_open(mesh)

        await until(is_closed)
        assert await kept.get() == 200
        write(folder, "policy.yaml")
        await until(lambda: is_open(mesh))
        assert await kept.get() == 200


@pytest.mark.refutes("WC-71")
async def test_connections_that_are_opened_later_go_where_a_route_says_now(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shop_of_bytes()) as (mesh, folder):
        assert await is_open(mesh)
        write(folder, "route.yaml", a_tcp_route("missing"))

        async def is_closed() -> bool:
            return not await is_open(mesh)

        await until(is_closed)
        write(folder, "route.yaml", a_tcp_route("web-v2"))
        await until(lambda: is_open(mesh))
        for _ in range(5):
            assert b"web-v2" in (await mesh.request("sleep", "http://web/")).body
