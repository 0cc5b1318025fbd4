"""Traffic of a whole mesh without waypoints: who is let in, as whom, and what is told of it."""

import asyncio
from pathlib import Path
from typing import Any

from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import a_cluster, a_document, a_lab, a_service, an_application, write


def _shop() -> list[dict[str, Any]]:
    return [
        *a_cluster("shop"),
        *an_application("web", replicas=2),
        a_service("web"),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
    ]


def _policy(**spec: Any) -> dict[str, Any]:
    return a_document("AuthorizationPolicy", "web", spec=spec)


async def test_traffic_goes_over_hbone_as_whoever_sends_it(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_shop()) as (mesh, _):
        answer = await mesh.request("sleep", "http://web/hello")
        assert (answer.status, answer.failure) == (200, "")
        told = {record.direction: record for record in answer.records}
        assert told["inbound"].source_identity == "spiffe://cluster.local/ns/shop/sa/sleep"
        assert told["inbound"].destination_identity == "spiffe://cluster.local/ns/shop/sa/web"
        assert told["inbound"].hbone.endswith(":8080")
        assert told["outbound"].service == "web.shop.svc.cluster.local"
        assert told["inbound"].bytes_sent > 0
        assert told["inbound"].error == told["outbound"].error == ""


async def test_endpoints_share_what_comes(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_shop()) as (mesh, _):
        answers = [await mesh.request("sleep", "http://web/") for _ in range(30)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 2


async def test_a_policy_refuses_by_identity_and_may_change(tmp_path: Path) -> None:
    principal = "cluster.local/ns/shop/sa/sleep"
    rules = [{"from": [{"source": {"principals": [principal]}}]}]
    allowing = _policy(selector={"matchLabels": {"app": "web"}}, action="ALLOW", rules=rules)
    async with a_lab(tmp_path, *_shop(), allowing) as (mesh, folder):
        assert (await mesh.request("sleep", "http://web/")).status == 200
        refused = await mesh.request("notsleep", "http://web/")
        assert (refused.status, refused.failure.endswith("was answered 401")) == (0, True)
        errors = [record.error for record in refused.records if record.direction == "inbound"]
        assert errors == [
            "policy rejection: ALLOW policies cover the workload and none matches",
        ]
        write(folder, "mesh.yaml", *_shop())
        await _until(mesh, "notsleep", 200)


async def test_plaintext_has_no_identity(tmp_path: Path) -> None:
    strict = a_document("PeerAuthentication", "default", spec={"mtls": {"mode": "STRICT"}})
    bare = a_document("Namespace", "outside", "")
    outside = [bare, *an_application("caller", "outside"), a_service("caller", "outside")]
    async with a_lab(tmp_path, *_shop(), *outside) as (mesh, folder):
        answer = await mesh.request("caller", "http://web.shop/")
        assert answer.status == 200
        inbound = [record for record in answer.records if record.direction == "inbound"]
        assert [record.source_identity for record in inbound] == [""]
        write(folder, "strict.yaml", strict)
        await _until(mesh, "caller", 0, url="http://web.shop/")
        assert (await mesh.request("sleep", "http://web/")).status == 200


async def test_a_connection_that_is_open_is_judged_again(tmp_path: Path) -> None:
    deny = _policy(
        action="DENY",
        rules=[{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/sleep"]}}]}],
    )
    async with a_lab(tmp_path, *_shop()) as (mesh, folder):
        connected = await mesh.connect("sleep", "web", 80)
        assert connected.tunnel is not None
        await connected.tunnel.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        assert (await connected.tunnel.read()).startswith(b"HTTP/1.1 200")
        write(folder, "deny.yaml", deny)
        await mesh.until(lambda: connected.tunnel is not None and connected.tunnel.is_over, "reset")
        assert (await mesh.request("notsleep", "http://web/")).status == 200


async def _until(mesh: Lab, source: str, status: int, *, url: str = "http://web/") -> None:
    for _ in range(200):
        if (await mesh.request(source, url)).status == status:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{source} never got {status}")
