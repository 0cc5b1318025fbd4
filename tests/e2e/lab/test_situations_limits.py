"""What a mesh goes through that no route and no policy asks for, on real Envoys.

Connections that would go round in circles, pods that leave the mesh and come back, a new root.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controlplane.ca.orders import place_order
from controlplane.lab.mesh import Lab
from controlplane.lab.ztunnel.workload import Tunnel
from controlplane.model.certificate import AuthorityTier
from tests.e2e.lab.test_live_waypoint import WAYPOINT, a_shop
from tests.support.lab_mesh import (
    NODES,
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)
from tests.support.lab_traffic import Traffic, traffic

pytestmark = pytest.mark.timeout(90)

_TUNNELLED = {"networking.istio.io/tunnel": "http"}
_ASKED = "http.inbound_hcm.downstream_rq_total"


def an_entry(name: str, address: str, endpoint: str) -> dict[str, Any]:
    return a_document(
        "ServiceEntry",
        name,
        labels={"istio.io/use-waypoint": "waypoint"},
        spec={
            "hosts": [f"{name}.example.com"],
            "addresses": [address],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "location": "MESH_INTERNAL",
            "endpoints": [
                {"address": endpoint, "labels": _TUNNELLED, "serviceAccount": "waypoint"}
            ],
        },
    )


def is_known(mesh: Lab, hostname: str) -> bool:
    return all(node.state.services.with_hostname(hostname) for node in mesh.nodes.values())


@pytest.mark.proves("WC-78")
async def test_nothing_goes_round_in_circles(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shop()) as (mesh, folder):
        proxy = mesh.waypoint(WAYPOINT)
        write(folder, "round.yaml", an_entry("round", proxy.address, proxy.address))
        await mesh.until(lambda: is_known(mesh, "round.example.com"), "the entry is known")
        answer = await mesh.request("sleep", "http://round.example.com/")
        assert (answer.status, answer.body) == (503, b"no healthy upstream")
        assert (await mesh.request("sleep", "http://web/")).status == 200


def a_shop_in(mode: str) -> list[dict[str, Any]]:
    """Return a shop whose namespace is in the mesh or out of it, and clients elsewhere."""
    found = [
        *a_cluster("shop", "street"),
        a_waypoint(),
        *an_application("web", replicas=3),
        a_service("web", waypoint="waypoint"),
        *an_application("sleep", "street"),
        *an_application("notsleep", "street"),
    ]
    for each in found:
        if (each["kind"], each["metadata"]["name"]) == ("Namespace", "shop"):
            each["metadata"]["labels"]["istio.io/dataplane-mode"] = mode
    return found


def webs(mesh: Lab) -> dict[str, Tunnel]:
    """Return how each pod of web is reached."""
    return {
        workload.uid: workload.tunnel
        for workload in mesh.nodes["node-1"].state.workloads.by_uid.values()
        if workload.canonical_name == "web"
    }


async def test_pods_leave_the_mesh_and_come_back_while_requests_flow(tmp_path: Path) -> None:
    calls = (("sleep", "http://web.shop/"), ("notsleep", "http://web.shop/"))
    async with (
        a_lab(tmp_path, *a_shop_in("ambient")) as (mesh, folder),
        traffic(mesh, *calls) as seen,
    ):
        pods = webs(mesh).keys()
        for mode, tunnel in (("none", Tunnel.NONE), ("ambient", Tunnel.HBONE)) * 2:
            seen.around = mode
            write(folder, "mesh.yaml", *a_shop_in(mode))
            await mesh.until(partial(are_reached, mesh, tunnel), mode)
            before = seen.requests
            await mesh.until(partial(are_sent, seen, before + 40), "requests go on")
            assert webs(mesh).keys() == pods
    assert seen.failures == []


def are_reached(mesh: Lab, tunnel: Tunnel) -> bool:
    return set(webs(mesh).values()) == {tunnel}


def are_sent(seen: Traffic, number: int) -> bool:
    return seen.requests > number


async def order(mesh: Lab, **change: Any) -> None:
    """Order something of whoever leads, as the command does."""
    certificates = mesh.process._readiness.certificates
    assert certificates is not None
    kept = certificates._kept
    await place_order(kept.keys, lambda orders: replace(orders, **change))
    await kept.authorities.look()


async def roots_at(mesh: Lab) -> int:
    """Return how many roots the Envoy of the waypoint trusts."""
    dump = await mesh.waypoint(WAYPOINT).envoy.admin("/config_dump?resource=dynamic_active_secrets")
    for each in json.loads(dump)["configs"]:
        if each["name"] == "ROOTCA":
            text = each["secret"]["validation_context"]["trusted_ca"]["inline_bytes"]
            return b64decode(text).count(b"BEGIN CERTIFICATE")
    return 0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


async def serials(mesh: Lab) -> set[str]:
    """Return the certificates that the Envoy of the waypoint shows."""
    found = json.loads(await mesh.waypoint(WAYPOINT).envoy.admin("/certs"))
    return {
        chain["serial_number"] for each in found["certificates"] for chain in each["cert_chain"]
    }


@pytest.mark.proves("WS-22", "WS-23")
async def test_a_new_root_takes_over_and_no_request_fails(tmp_path: Path) -> None:
    calls = (("sleep", "http://web/"), ("notsleep", "http://web/"))
    async with a_lab(tmp_path, *a_shop()) as (mesh, _):
        old = await serials(mesh)
        async with traffic(mesh, *calls) as seen:
            seen.around = "the new root is published"
            await order(mesh, rotates=frozenset({AuthorityTier.ROOT}))
            await until(lambda: is_(roots_at(mesh), 2))
            assert await serials(mesh) & old
        # Who has certificates from now on trusts both; all of them are of the old root.
        for node in NODES:
            await mesh.restart_node(node)
        await mesh.settled()
        async with traffic(mesh, *calls) as after:
            after.around = "the new root signs"
            await order(mesh, is_hard=True)
            await until(lambda: is_new(mesh, old))
            before = after.requests
            await mesh.until(lambda: after.requests > before + 20, "requests go on")
        assert (seen.failures, after.failures) == ([], [])
        held = set(signers(mesh))
        # Now one node has certificates of the new root, and the other goes on with those it has.
        await mesh.restart_node("node-1")
        await mesh.settled()
        assert len(set(signers(mesh)) | held) == 2
        assert [(await mesh.request(*call)).status for call in calls] == [200, 200]


def signers(mesh: Lab) -> list[str]:
    return [
        each.chain[0].issuer.rfc4514_string()
        for node in mesh.nodes.values()
        for each in node.certificates.held
    ]


async def is_new(mesh: Lab, old: set[str]) -> bool:
    return not await serials(mesh) & old


async def is_(value: Awaitable[object], expected: object) -> bool:
    return await value == expected
