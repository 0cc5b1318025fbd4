"""The admin side of a whole process: its tokens, a connected client, and an end while waiting."""

import asyncio
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import SystemClock
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.model.names import Name
from controlplane.settings import Settings
from tests.support.admin import BOOKINFO
from tests.support.replicas import started

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def running(folder: Path, files: Path = BOOKINFO) -> AsyncIterator[Process]:
    settings = Settings(
        files=files,
        data_dir=folder,
        cluster="none",
        xds_port=0,
        admin_port=0,
        plaintext=True,
        plaintext_port=0,
    )
    async with started(settings) as process:
        yield process


def a_token(folder: Path, account: Name, audience: str = "istio-ca") -> str:
    request = TokenRequest(account=account, audiences=(audience,), lifetime=timedelta(minutes=5))
    return issue_token(load_issuer_key(folder), request, SystemClock())


async def get(process: Process, path: str, headers: Mapping[str, str]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{process.admin_port}{path}"
        return await client.get(url, headers=dict(headers))


async def viewer(process: Process, token: str) -> tuple[int, object]:
    answer = await get(process, "/api/v1/viewer", {"authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("namespace", answer.json().get("detail"))


async def test_tokens_decide_who_sees_what(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        file = tmp_path / "admin-token"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await viewer(process, file.read_text().strip()) == (200, None)
        own = Name("bookinfo", "sleep")
        assert await viewer(process, a_token(tmp_path, own)) == (200, "bookinfo")
        assert await viewer(process, a_token(tmp_path, Name("istio-system", "x"))) == (200, None)
        status, detail = await viewer(process, a_token(tmp_path, own, "somebody-else"))
        assert status == 401
        assert "istio-ca" in str(detail)
        forwarded = await get(process, "/api/v1/viewer", {"x-forwarded-for": "127.0.0.1"})
        assert forwarded.status_code == 401


@pytest.mark.proves("AM-10")
async def test_the_root_namespace_of_the_mesh_is_the_one_it_is_configured_to_be(
    tmp_path: Path,
) -> None:
    files = tmp_path / "mesh"
    files.mkdir()
    configuration = files / "meshconfig.yaml"
    data = tmp_path / "data"
    async with running(data, files) as process:

        async def sees_all(namespace: str) -> bool:
            status, seen = await viewer(process, a_token(data, Name(namespace, "x")))
            assert status == 200
            return seen is None

        async def until(*namespaces: str) -> None:
            async with asyncio.timeout(10):
                while True:
                    asked = ("first", "second", "istio-system")
                    if [each for each in asked if await sees_all(each)] == list(namespaces):
                        return
                    await asyncio.sleep(0.05)

        await until("istio-system")
        configuration.write_text("rootNamespace: first\n")
        await until("first", "istio-system")
        configuration.write_text("rootNamespace: second\n")
        await until("second", "istio-system")
        configuration.write_text("rootNamespace: [no, name]\n")
        await asyncio.sleep(0.5)
        await until("second", "istio-system")
        configuration.unlink()
        await until("istio-system")


async def test_a_client_is_seen_to_be_in_sync(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        target = Target(address=f"127.0.0.1:{process.plaintext_port}")
        async with ZtunnelClient(target, Session(NodeIdentity(node_name="node-1"))):
            async with asyncio.timeout(10):
                while True:
                    fleet = (await get(process, "/api/v1/fleet", {})).json()
                    if fleet["states"] == {"SYNCED": 1}:
                        break
                    await asyncio.sleep(0.05)
            found = (await get(process, "/api/v1/connections", {})).json()["items"]
        assert [each["node"] for each in found] == ["node-1"]
        assert {each["short"] for each in found[0]["types"]} == {"WDS", "WADS"}


async def test_the_process_ends_although_somebody_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as process, httpx.AsyncClient(timeout=60) as client:
        url = f"http://127.0.0.1:{process.admin_port}/api/v1/wait"
        waiting = asyncio.create_task(client.post(url, json={"commit": 9999, "seconds": 50}))
        await asyncio.sleep(0.3)
        process.stop()
        async with asyncio.timeout(10):
            ended = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(ended, httpx.Response)
    assert ended.status_code == 503
    assert "ending" in ended.json()["detail"]
