"""The gate: what passes, what is answered by it, and what every answer carries."""

from collections.abc import AsyncIterator

import pytest

from controlplane.admin.limits import AdminLimits, PeerBuckets
from tests.support.admin import ADMIN_TOKEN, AdminRig, a_client
from tests.support.discovery import FakeClock

FEW = AdminLimits(requests_per_second=2.0, requests_at_once=3, body_bytes=100)


@pytest.mark.proves("AM-9")
@pytest.mark.parametrize("path", ["/", "/api/v1/workloads", "/nothing", "/debug", "/healthz/"])
async def test_every_path_asks_who_is_there(path: str) -> None:
    async with a_client(AdminRig().application(), peer="10.0.0.1") as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="istiod-lite"'


@pytest.mark.refutes("AM-9")
@pytest.mark.parametrize("path", ["/healthz", "/ready", "/version", "/metrics"])
async def test_some_paths_are_open_for_reading_only(path: str) -> None:
    async with a_client(AdminRig().application(), peer="10.0.0.1") as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.post(path, json={})).status_code == 401


@pytest.mark.proves("AM-7")
@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_forms_are_refused(kind: str) -> None:
    async with a_client(AdminRig().application()) as client:
        headers = {"content-type": kind} if kind else {}
        answer = await client.post("/api/v1/wait", content=b"{}", headers=headers)
    assert answer.status_code == 415


@pytest.mark.refutes("AM-7")
async def test_json_is_taken() -> None:
    async with a_client(AdminRig().application()) as client:
        answer = await client.post("/api/v1/wait", json={"seconds": 0})
    assert answer.status_code == 200


@pytest.mark.proves("AM-7")
async def test_no_answer_allows_other_origins() -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "GET"}
    async with a_client(AdminRig().application(), headers=headers) as client:
        for method in ("GET", "OPTIONS"):
            answer = await client.request(method, "/api/v1/viewer")
            assert not [each for each in answer.headers if each.startswith("access-control")]


@pytest.mark.proves("AM-8")
async def test_long_bodies_are_refused() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b'"0123456789"'

    kind = {"content-type": "application/json"}
    async with a_client(AdminRig().application(limits=FEW)) as client:
        told = await client.post("/api/v1/wait", content=b" " * 101, headers=kind)
        hidden = await client.post("/api/v1/wait", content=chunks(), headers=kind)
    assert (told.status_code, hidden.status_code) == (413, 413)
    assert told.json()["detail"] == "A request holds 100 bytes at most."


@pytest.mark.proves("AM-8")
async def test_one_address_that_asks_too_often_waits() -> None:
    rig = AdminRig()
    application = rig.application(limits=FEW)
    async with a_client(application) as client, a_client(application, peer="127.0.0.2") as other:
        statuses = [(await client.get("/api/v1/viewer")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await client.get("/metrics")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (await other.get("/api/v1/viewer")).status_code == 200
        rig.clock.time += 0.5
        assert (await client.get("/api/v1/viewer")).status_code == 200


@pytest.mark.refutes("AM-8")
async def test_health_is_always_told() -> None:
    async with a_client(AdminRig().application(limits=FEW)) as client:
        for path in ("/healthz", "/ready") * 10:
            assert (await client.get(path)).status_code == 200


@pytest.mark.refutes("AM-8")
def test_peers_are_forgotten_and_start_anew() -> None:
    clock = FakeClock()
    buckets = PeerBuckets(FEW, clock)
    for number in range(10_000):
        assert buckets.seconds_until_allowed(f"peer-{number}") == 0.0
    assert [buckets.seconds_until_allowed("peer-0") for _ in range(4)] == [0, 0, 0, 0.5]


async def test_every_answer_is_guarded() -> None:
    async with a_client(AdminRig().application()) as client:
        for path in ("/healthz", "/api/v1/viewer", "/nothing", "/debug"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


async def test_head_is_a_reading() -> None:
    async with a_client(AdminRig().application(), token=ADMIN_TOKEN, peer="10.0.0.1") as client:
        assert (await client.head("/api/v1/viewer")).status_code == 200


@pytest.mark.proves("AM-23")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/workloads?limit=0", 422),
        ("GET", "/api/v1/workloads?after=x", 400),
        ("GET", "/api/v1/workloads?colour=red", 422),
        ("GET", "/api/v1/services/a/b", 404),
        ("GET", "/api/v1/authorities", 404),
        ("DELETE", "/api/v1/viewer", 415),
        ("GET", "/debug/pprof", 404),
    ],
)
async def test_every_error_is_a_problem_document(method: str, path: str, status: int) -> None:
    async with a_client(AdminRig().application()) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert len(found["detail"]) > 15


@pytest.mark.refutes("AM-23")
async def test_what_is_no_error_is_no_problem_document() -> None:
    async with a_client(AdminRig().application()) as client:
        answer = await client.get("/api/v1/viewer")
    assert answer.headers["content-type"] == "application/json"


async def test_the_health_port_answers_health_and_debug_only() -> None:
    async with a_client(AdminRig().health()) as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/debug/syncz")).json() == []
        assert (await client.get("/api/v1/viewer")).status_code == 404
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.proves("AM-16")
@pytest.mark.parametrize("path", ["/healthz", "/ready", "/metrics", "/api/v1/workloads", "/debug"])
async def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    async with a_client(AdminRig().application()) as client:
        whole, head = await client.get(path), await client.head(path)
    assert head.status_code == whole.status_code
    assert head.content == b""
    for name in ("content-type", "etag", "content-security-policy"):
        assert head.headers.get(name) == whole.headers.get(name)


@pytest.mark.refutes("AM-16")
async def test_head_asks_who_is_there_and_finds_nothing_more_than_get() -> None:
    async with a_client(AdminRig().application(), peer="10.0.0.1") as client:
        assert (await client.head("/api/v1/workloads")).status_code == 401
    async with a_client(AdminRig().application()) as client:
        assert (await client.head("/api/v1/wait")).status_code == 405
        assert (await client.head("/nothing")).status_code == 404
