"""The whole process: ports, readiness in words, metrics, problems and a clean end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import SystemClock
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.model.names import Name
from controlplane.model.resident import NodeAccount
from controlplane.settings import Settings
from tests.support.replicas import started

PROXY = """
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-a, namespace: istio-system}
spec: {nodeName: node-1, serviceAccountName: ztunnel}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.0.0.1
  ports: [{port: 80}]
"""


def _settings(folder: Path) -> Settings:
    return Settings(
        files=folder / "manifests",
        data_dir=folder / "data",
        xds_port=0,
        admin_port=0,
        plaintext=True,
        plaintext_port=0,
    )


async def _admin(process: Process, path: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(
            f"http://127.0.0.1:{process.admin_port}{path}", headers={"accept": "application/json"}
        )


async def _until(process: Process, condition: Callable[[], bool]) -> None:
    """Wait for a commit after which ``condition`` holds."""
    committed = asyncio.Event()
    process.pipeline.graph.on_commit(lambda _: committed.set())
    while not condition():
        await committed.wait()
        committed.clear()


def _token(process: Process) -> str:
    """Return a token of the node proxy that the manifests run on node-1."""
    (pod,) = process.residents.at(NodeAccount("node-1", "istio-system", "ztunnel"))
    request = TokenRequest(
        account=Name("istio-system", "ztunnel"),
        audiences=("istio-ca",),
        lifetime=timedelta(hours=1),
        pod=pod.name,
        pod_uid=pod.uid,
        node=pod.node,
    )
    return issue_token(load_issuer_key(process.settings.data_dir), request, SystemClock())


async def _client(process: Process) -> ZtunnelClient:
    await _until(process, lambda: process.waiting_for() == [])
    target = Target(
        address=f"localhost:{process.xds_port}",
        root_certificates=process.root_file.read_bytes(),
        token=lambda: _token(process),
    )
    return ZtunnelClient(target, Session(NodeIdentity(node_name="node-1")))


def _services(client: ZtunnelClient) -> set[str]:
    return {service.name for service in client.state.services.by_key.values()}


async def test_a_missing_folder_is_named_and_served_once_it_appears(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    async with started(settings) as process:
        await _until(process, lambda: bool(process.problems))
        waiting = await _admin(process, "/ready")
        assert waiting.status_code == 503
        assert str(settings.files) in " ".join(waiting.json()["waiting_for"])
        settings.files.mkdir()
        (settings.files / "web.yaml").write_text(PROXY + SERVICE)
        async with await _client(process) as client:
            await client.wait_for(lambda client: "web" in _services(client), 15)
        assert (await _admin(process, "/ready")).status_code == 200


async def test_a_file_edit_reaches_a_client_and_the_metrics(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    settings.files.mkdir()
    (settings.files / "web.yaml").write_text(PROXY + SERVICE)
    async with started(settings) as process, await _client(process) as client:
        await client.wait_for(lambda client: "web" in _services(client))
        (settings.files / "cart.yaml").write_text(
            SERVICE.replace("web", "cart").replace("10.0.0.1", "10.0.0.2")
        )
        await client.wait_for(lambda client: "cart" in _services(client))
        metrics = (await _admin(process, "/metrics")).text
        assert 'istiod_lite_resources{type="wds"} 3.0' in metrics
        assert 'pilot_xds{version="unknown"} 1.0' in metrics
        assert client.nacks == []


async def test_a_broken_file_is_a_problem_and_changes_nothing(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    settings.files.mkdir()
    path = settings.files / "web.yaml"
    path.write_text(PROXY + SERVICE)
    async with started(settings) as process, await _client(process) as client:
        await client.wait_for(lambda client: "web" in _services(client))
        path.write_text(PROXY + SERVICE + "---\n{half")
        (settings.files / "cart.yaml").write_text(
            SERVICE.replace("web", "cart").replace("10.0.0.1", "10.0.0.2")
        )
        await client.wait_for(lambda client: "cart" in _services(client))
        await _until(process, lambda: any(each.file == str(path) for each in process.problems))
        assert _services(client) == {"web", "cart"}
        assert (
            'istiod_lite_problems{severity="error"} 1.0' in (await _admin(process, "/metrics")).text
        )


async def test_a_port_that_is_taken_is_a_startup_error(tmp_path: Path) -> None:
    async with started(_settings(tmp_path)) as process:
        other = _settings(tmp_path / "other")
        taken = other.model_copy(update={"xds_port": process.xds_port})
        with pytest.raises(StartupError, match=str(process.xds_port)):
            await Process(taken).run()


async def test_two_processes_do_not_share_a_data_folder(tmp_path: Path) -> None:
    async with started(_settings(tmp_path)):
        with pytest.raises(StartupError, match="another process uses"):
            await Process(_settings(tmp_path)).run()


async def test_nobody_outside_this_machine_is_listened_to(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="loopback"):
        Process(_settings(tmp_path).model_copy(update={"bind_address": "0.0.0.0"}))  # noqa: S104


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_drains_and_ends_with_zero(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "mesh").mkdir()
    command = [sys.executable, "-m", "controlplane.cli.main", "serve"]
    ports = ["--xds-port", "0", "--admin-port", "0"]
    running = await asyncio.create_subprocess_exec(
        *command,
        *ports,
        cwd=tmp_path,
        env={**os.environ, "ISTIOD_LITE_CLUSTER": "none"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stderr is not None
    events = []
    async for line in running.stderr:
        event = json.loads(line)
        events.append(event["event"])
        if event["event"] == "admin.listening":
            running.send_signal(number)
    assert await running.wait() == 0
    assert "manifests.watched" in events
    assert events.index("process.draining") > events.index("admin.listening")
    assert events[-1] == "process.stopped"
