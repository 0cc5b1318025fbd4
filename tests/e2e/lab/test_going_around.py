"""Going around a waypoint: possible and told of, or impossible where a guard stands."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_errors import HboneError
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
from tests.support.lab_policies import a_policy, operation, principal, source, spiffe

pytestmark = pytest.mark.timeout(60)

CODE = "waypoint.can-be-bypassed"
GUARD = "istiod-lite.io/waypoint-guard"
SLEEP_MAY_GET = a_policy(
    "ALLOW",
    {**source(principals=[principal("sleep")]), **operation(methods=["GET"])},
    name="readers",
    service="web",
)


def _documents(**annotations: str) -> list[dict[str, Any]]:
    return [
        *a_cluster("shop"),
        a_document("Namespace", "outside", ""),
        a_waypoint(annotations=annotations),
        a_waypoint("second"),
        *an_application("web"),
        a_service("web", waypoint="waypoint"),
        *an_application("free"),
        a_service("free"),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
        *an_application("outsider", "outside"),
        a_service("outsider", "outside"),
        SLEEP_MAY_GET,
    ]


def _told(mesh: Lab) -> dict[str, str]:
    """Return who can be reached around a waypoint, and the sentence about it."""
    return {
        str(problem.object).rpartition("/")[2]: problem.message
        for problem in mesh.process.problems
        if problem.code == CODE
    }


async def _as_another_waypoint(mesh: Lab) -> HeldCertificate:
    """Return a certificate of the other waypoint, as the node has it that its pod is on."""
    pod = mesh.waypoint("shop/second").pod
    return await mesh.nodes[pod.node].certificates.of(spiffe("second"))


async def _ways_around(mesh: Lab) -> dict[str, bool]:
    """Return for each way around the waypoint whether it leads to the application."""
    web = str(mesh.workload("web").addresses[0])
    found = {
        client: (await mesh.request(client, f"http://{web}:8080/", method="DELETE")).status == 200
        for client in ("sleep", "notsleep", "outsider")
    }
    held = await _as_another_waypoint(mesh)
    place = Waypoint(host=web, port=15008, identities={spiffe("web")})
    async with HboneClient(place, held) as client:
        try:
            tunnel = await client.open(f"{web}:8080")
        except HboneError:
            found["another waypoint"] = False
        else:
            await tunnel.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            found["another waypoint"] = (await tunnel.read()).startswith(b"HTTP/1.1 200")
    found["plaintext to the tunnels' port"] = await _answers(web, 15008)
    return found


async def _answers(host: str, port: int) -> bool:
    """Return whether HTTP without TLS is answered."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"CONNECT web:8080 HTTP/1.1\r\nHost: web\r\n\r\n")
    try:
        async with asyncio.timeout(5):
            return (await reader.read(100)).startswith(b"HTTP")
    except OSError:
        return False
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _through_the_waypoint(mesh: Lab) -> list[int]:
    calls = (("sleep", "GET"), ("sleep", "DELETE"), ("notsleep", "GET"))
    return [
        (await mesh.request(client, "http://web/", method=method)).status
        for client, method in calls
    ]


OPEN = {
    "sleep": True,
    "notsleep": True,
    "outsider": True,
    "another waypoint": True,
    "plaintext to the tunnels' port": False,
}
CLOSED = dict.fromkeys(OPEN, False)


async def test_without_a_guard_it_is_possible_and_told_of(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_documents()) as (mesh, folder):
        assert await _through_the_waypoint(mesh) == [200, 403, 403]
        assert await _ways_around(mesh) == OPEN
        pod = mesh.workload("web").name
        told = _told(mesh)
        assert told.keys() == {pod}
        assert "web" in told[pod]
        assert "waypoint" in told[pod]
        # The guard comes: everything is closed that was open, and nobody is warned any more.
        write(folder, "mesh.yaml", *_documents(**{GUARD: "true"}))
        await mesh.until(lambda: not _told(mesh), "nothing can be bypassed")
        # A Gateway's annotations are those of its pods: there is a new one.
        await mesh.settled()
        await _until_refused(mesh, "notsleep")
        assert await _ways_around(mesh) == CLOSED
        assert await _through_the_waypoint(mesh) == [200, 403, 403]
        # Who has no waypoint is no concern of it.
        assert (await mesh.request("notsleep", "http://free/")).status == 200


async def test_a_setting_guards_every_waypoint_that_does_not_decide_for_itself(
    tmp_path: Path,
) -> None:
    settings = {"allows_waypoints_implicitly": True}
    async with a_lab(tmp_path, *_documents(), settings=settings) as (mesh, folder):
        await _until_refused(mesh, "notsleep")
        assert await _ways_around(mesh) == CLOSED
        assert _told(mesh) == {}
        assert await _through_the_waypoint(mesh) == [200, 403, 403]
        refused = (await mesh.request("notsleep", f"http://{_pod(mesh)}:8080/")).records
        assert [each.error for each in refused if each.direction == "inbound"] == [
            "policy rejection: ALLOW policies cover the workload and none matches"
        ]
        write(folder, "mesh.yaml", *_documents(**{GUARD: "false"}))
        await mesh.until(lambda: bool(_told(mesh)), "it can be bypassed again")
        # Who is told of it hears it before node proxies do.
        for _ in range(100):
            ways = await _ways_around(mesh)
            if ways == OPEN:
                break
            await asyncio.sleep(0.05)
        assert ways == OPEN


async def test_what_a_waypoint_that_is_down_leaves_open(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_documents(**{GUARD: "true"})) as (mesh, _):
        assert await _through_the_waypoint(mesh) == [200, 403, 403]
        envoy = mesh.waypoint("shop/waypoint").envoy
        await envoy.stop()
        # Nobody goes around by themselves: requests fail, and the guard lets nobody in.
        assert await _through_the_waypoint(mesh) == [0, 0, 0]
        assert await _ways_around(mesh) == CLOSED
        await envoy.start()
        assert await _through_the_waypoint(mesh) == [200, 403, 403]


@pytest.mark.parametrize(
    "policy",
    [
        a_policy("ALLOW", source(principals=[principal("waypoint")]), name="own", app="web"),
        a_policy("DENY", source(notPrincipals=[principal("waypoint")]), name="own", app="web"),
    ],
    ids=["ALLOW the waypoint", "DENY everybody else"],
)
async def test_a_policy_of_one_s_own_does_what_a_guard_does(
    tmp_path: Path, policy: Mapping[str, Any]
) -> None:
    async with a_lab(tmp_path, *_documents(), policy) as (mesh, _):
        assert _told(mesh) == {}
        assert await _ways_around(mesh) == CLOSED
        assert await _through_the_waypoint(mesh) == [200, 403, 403]


async def test_plaintext_at_the_waypoint_itself_is_not_answered(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_documents()) as (mesh, _):
        assert not await _answers(mesh.waypoint("shop/waypoint").address, 15008)
        # A client outside the mesh is led to the pod by the cluster itself: told of, see above.
        assert (await mesh.request("outsider", "http://web.shop/")).status == 200


def _pod(mesh: Lab) -> str:
    return str(mesh.workload("web").addresses[0])


async def _until_refused(mesh: Lab, client: str) -> None:
    async with asyncio.timeout(20):
        while (await mesh.request(client, f"http://{_pod(mesh)}:8080/")).status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
