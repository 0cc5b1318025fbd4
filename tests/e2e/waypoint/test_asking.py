"""Policies of action CUSTOM through a real Envoy: who is asked about what, and what follows."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationRule, Operation
from tests.support.builders import a_service
from tests.support.policed_waypoint import (
    a_policed_mesh,
    a_policed_waypoint,
    a_web_policy,
    providers,
)

ADMIN = AuthorizationRule(operations=(Operation(paths=("/admin*",)),))
PASS = {"x-pass": "yes"}


def _asking(provider: str = "judge", name: str = "ask", **fields: Any) -> Any:
    return a_web_policy(name, ADMIN, action="CUSTOM", provider=provider, **fields)


@pytest.mark.proves("EA-6", "EA-9", "EA-2")
async def test_a_provider_that_speaks_http_is_asked_about_what_matches(tmp_path: Path) -> None:
    mesh = a_policed_mesh(providers(), _asking())
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/open") == 200
        assert waypoint.asked.judge == []
        allowed = await waypoint.get("/admin/x", headers=PASS | {"x-other": "o"})
        assert allowed.status_code == 200
        assert allowed.headers["x-seen"] == "judge"
        assert "x-secret" not in allowed.headers
        assert waypoint.asked.application[-1]["x-user"] == "alice"
        (asked,) = waypoint.asked.judge
        assert asked[":path"] == "/check/admin/x"
        assert asked["x-from"] == "100% mesh"
        assert "x-other" not in asked
        denied = await waypoint.get("/admin/x")
        assert (denied.status_code, denied.text) == (401, "no")
        assert denied.headers["x-reason"] == "pass"
        assert "x-secret" not in denied.headers
        assert len(waypoint.asked.application) == 2


@pytest.mark.proves("EA-6")
async def test_a_provider_that_speaks_grpc(tmp_path: Path) -> None:
    mesh = a_policed_mesh(providers(), _asking("court"))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/open") == 200
        assert waypoint.asked.court == []
        assert await waypoint.status("/admin", headers=PASS) == 200
        assert await waypoint.status("/admin") == 403
        assert len(waypoint.asked.court) == 2
        assert len(waypoint.asked.application) == 2


@pytest.mark.proves("EA-7")
@pytest.mark.refutes("EA-7")
@pytest.mark.parametrize(("provider", "port"), [("judge", 8090), ("court", 8091)])
@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 403), ({"statusOnError": "503"}, 503), ({"failOpen": True}, 200)],
)
async def test_nobody_answers(
    tmp_path: Path, provider: str, port: int, fields: Any, status: int
) -> None:
    mesh = a_policed_mesh(providers(**fields), _asking(provider))
    async with a_policed_waypoint(tmp_path, mesh, without=(port,)) as waypoint:
        assert await waypoint.status("/admin", headers=PASS) == status
        assert await waypoint.status("/open") == 200


@pytest.mark.proves("EA-4", "HP-12")
@pytest.mark.parametrize("case", ["not configured", "no service"])
async def test_what_nobody_can_be_asked_about_is_denied(tmp_path: Path, case: str) -> None:
    mesh = a_policed_mesh(_asking())
    if case == "no service":
        mesh.apply(providers(), removed=[a_service("auth", "app")])
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/admin", headers=PASS) == 403
        assert await waypoint.status("/open") == 200
        assert waypoint.asked.judge == []


@pytest.mark.proves("EA-5")
async def test_what_another_provider_would_decide_is_denied(tmp_path: Path) -> None:
    everything = AuthorizationRule(operations=(Operation(paths=("/court*",)),))
    other = a_web_policy("later", everything, action="CUSTOM", provider="court")
    mesh = a_policed_mesh(providers(), _asking(), other)
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/admin", headers=PASS) == 200
        assert await waypoint.status("/court", headers=PASS) == 403
        assert await waypoint.status("/open", headers=PASS) == 200
        assert waypoint.asked.court == []


@pytest.mark.proves("EA-8")
async def test_a_chain_that_does_not_ask_yet_denies(tmp_path: Path) -> None:
    mesh = a_policed_mesh(providers())
    async with a_policed_waypoint(tmp_path, mesh) as waypoint, waypoint.browsing() as http:
        assert (await http.get("/admin", headers=PASS)).status_code == 200
        # Only the routes come: the chain is the one from before.
        waypoint.change(_asking())
        assert await _becomes(http, 403)
        assert waypoint.asked.judge == []
        assert (await http.get("/open")).status_code == 200


@pytest.mark.refutes("EA-8", "EA-6")
async def test_the_other_policies_are_enforced_besides(tmp_path: Path) -> None:
    deny = a_web_policy("deny", ADMIN, action="DENY")
    mesh = a_policed_mesh(providers(), _asking(), deny)
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/admin", headers=PASS) == 403
        assert len(waypoint.asked.judge) == 1


async def _becomes(http: Any, status: int) -> bool:
    for _ in range(1000):
        if (await http.get("/admin", headers=PASS)).status_code == status:
            return True
        await asyncio.sleep(0.02)
    return False
