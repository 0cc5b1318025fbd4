"""Replicas as an operating system runs them: processes that are killed or stopped at any point."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from tests.support.kubernetes_api import KubernetesApi
from tests.support.replicas import a_kubeconfig, token, until


class ReplicaProcess:
    """``istiod-lite serve`` as a process of its own, known to the API server as ``name``."""

    def __init__(
        self, name: str, folder: Path, api: KubernetesApi, *, database_url: str, **settings: Any
    ) -> None:
        self.name = name
        self.data = folder / name / "data"
        self.events: list[Mapping[str, Any]] = []
        self._arguments = (
            *("-m", "controlplane.cli.main", "serve"),
            *("--kubeconfig", str(a_kubeconfig(folder / name, api, token=name))),
            *("--data-dir", str(self.data)),
        )
        given = {
            "pod_name": name,
            "bind_address": "127.0.0.1",
            "xds_port": 0,
            "admin_port": 0,
            "health_port": 0,
            "webhook_port": 0,
            "replicas": 2,
            "database_url": database_url,
            "log_format": "json",
            "respects_istiod": False,
            **settings,
        }
        ours = {f"ISTIOD_LITE_{key.upper()}": str(value) for key, value in given.items()}
        self._environment = {**os.environ, **ours}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            env=self._environment,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def serving(self) -> None:
        """Wait until its ports are open."""
        await until(lambda: self._event("admin.listening") or self._is_over, 80)
        assert not self._is_over, self.events

    def send(self, number: signal.Signals) -> None:
        """Send ``number``; a process that is gone already is none to send it to."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        assert self._process is not None
        assert self._reader is not None
        code = await self._process.wait()
        await self._reader
        return code

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.send(signal.SIGCONT)
        self.send(number)
        return await self.ended()

    def client(self) -> ZtunnelClient:
        """Return a node proxy that connects to it."""
        event = self._event("xds.listening")
        assert event is not None
        port = event["address"].rpartition(":")[2]
        target = Target(
            address=f"localhost:{port}",
            root_certificates=(self.data / "root-cert.pem").read_bytes(),
            token=token,
        )
        return ZtunnelClient(target, Session(NodeIdentity(node_name="node-1")))

    @property
    def _is_over(self) -> bool:
        return self._process is None or self._process.returncode is not None

    def _event(self, name: str) -> Mapping[str, Any] | None:
        return next((each for each in self.events if each["event"] == name), None)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "text", "text": line.decode()})
