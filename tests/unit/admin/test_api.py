import httpx
import pytest
from fastapi import FastAPI

from controlplane.admin.api import AdminParts, admin_application
from controlplane.metrics import Metrics

JSON = "text/html;q=0.9, application/json; q=0.5"


def _application(reasons: list[str]) -> FastAPI:
    return admin_application(
        AdminParts(
            version="1.2.3",
            waiting_for=lambda: reasons,
            registry=Metrics("1.2.3").registry,
            details=lambda: ["replica b leads"],
        )
    )


async def _get(
    reasons: list[str], path: str, accept: str = "*/*", *, peer: str = "127.0.0.1"
) -> httpx.Response:
    transport = httpx.ASGITransport(_application(reasons), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path, headers={"accept": accept})


async def test_ready_says_in_words_what_it_waits_for() -> None:
    response = await _get(["the folder has not been read yet"], "/ready")
    assert response.status_code == 503
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text.splitlines() == [
        "not ready",
        "waiting: the folder has not been read yet",
        "replica b leads",
    ]


async def test_ready_is_json_for_who_asks_for_it_by_name() -> None:
    response = await _get(["the folder has not been read yet"], "/ready", JSON)
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "waiting_for": ["the folder has not been read yet"],
        "details": ["replica b leads"],
    }


async def test_ready_answers_200_when_nothing_is_missing() -> None:
    response = await _get([], "/ready")
    assert (response.status_code, response.text) == (200, "ready\nreplica b leads\n")
    assert (await _get([], "/ready", JSON)).json()["ready"] is True


@pytest.mark.proves("AM-9")
async def test_what_goes_on_beside_serving_is_told_to_this_machine_only() -> None:
    response = await _get(["the folder has not been read yet"], "/ready", peer="10.0.0.7")
    assert response.text.splitlines() == [
        "not ready",
        "waiting: the folder has not been read yet",
        "1 more, for those who ask from the same machine",
    ]


async def test_health_does_not_depend_on_readiness() -> None:
    response = await _get(["anything"], "/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_version_is_shown() -> None:
    response = await _get([], "/version")
    assert response.json() == {"name": "istiod-lite", "version": "1.2.3"}


async def test_metrics_are_prometheus_text() -> None:
    response = await _get([], "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'istiod_lite_build_info{version="1.2.3"} 1.0' in response.text
