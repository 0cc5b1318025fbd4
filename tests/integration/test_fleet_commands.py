"""Two replicas and their clients as ``proxy-status`` tells of them, whichever replica is asked."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.lab.ztunnel.client import METHOD, Target
from tests.integration.test_replicas import SHORT, a_pair, postgres_url, shared_url
from tests.integration.test_xds_server import EOF
from tests.support.command_line import cells, without_ages
from tests.support.discovery import ModelClient
from tests.support.replica_process import ReplicaProcess
from tests.support.replicas import token

__all__ = ["postgres_url", "shared_url"]

SECONDS = 5.0
"""Whoever asks so long after something happened is told of it."""


class Client:
    """A ztunnel that accepts what it is sent until told to do something else."""

    def __init__(self, call: Any, *, pod: str) -> None:
        self.name = f"{pod}.istio-system"
        self._model = ModelClient()
        self._call = call
        self.mood = "good"

    async def run(self) -> None:
        first, second = self._model.requests(node_name="node-1")
        first.node.id = f"ztunnel~10.0.0.9~{self.name}~istio-system.svc.cluster.local"
        for request in (first, second):
            await self._call.write(request.SerializeToString())
        while (body := await self._call.read()) is not EOF:
            answer = self._model.apply(body)
            if self.mood == "stalled":
                await asyncio.Event().wait()
            if self.mood == "bad":
                response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
                answer.error_detail.message = f"{response.resources[0].name}: not for me"
            await self._call.write(answer.SerializeToString())


@asynccontextmanager
async def clients(replica: ReplicaProcess, *pods: str) -> AsyncIterator[list[Client]]:
    event = replica._event("xds.listening")
    assert event is not None
    target = Target(
        address=f"localhost:{event['address'].rpartition(':')[2]}",
        root_certificates=(replica.data / "root-cert.pem").read_bytes(),
        token=token,
    )
    async with target.channel() as channel:
        stream: Any = channel.stream_stream  # stubs demand serializers
        found = [Client(stream(METHOD)(metadata=target.metadata()), pod=pod) for pod in pods]
        tasks = [asyncio.create_task(each.run()) for each in found]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def url_of(replica: ReplicaProcess) -> str:
    event = replica._event("admin.listening")
    assert event is not None
    url: str = event["url"]
    return url.removesuffix("/ready")


async def proxy_status(replica: ReplicaProcess) -> tuple[dict[str, list[str]], str]:
    """Return what ``proxy-status -v 1`` prints, by name, and what it says beside that."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane.cli.main", "proxy-status", "-v", "1"),
        env={**os.environ, "ISTIOD_LITE_SERVER": url_of(replica)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    rows = cells(without_ages(output.decode()))[1:]
    return {row[0]: row[1:] for row in rows}, errors.decode()


async def told_in_time(replica: ReplicaProcess, holds: Callable[[Any, str], bool]) -> None:
    """Ask until the answer is right; it has to be for whoever asks after SECONDS."""
    loop = asyncio.get_running_loop()
    happened = loop.time()
    while True:
        asked = loop.time() - happened
        rows, beside = await proxy_status(replica)
        if holds(rows, beside):
            return
        assert asked < SECONDS, (rows, beside)


async def states(replica: ReplicaProcess) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=url_of(replica)) as client:
        page = (await client.get("/api/v1/connections")).json()
    return {each["name"]: each["state"] for each in page["items"]}


@pytest.mark.timeout(180)
async def test_clients_that_refuse_or_stall_and_replicas_that_die_are_told_in_time(
    tmp_path: Path, shared_url: str
) -> None:
    async with a_pair(tmp_path, shared_url, SHORT) as pair:
        serving, asked = await pair.start(), await pair.start()
        for replica in (serving, asked):
            await replica.serving()
        async with clients(serving, "good", "bad", "stalled") as (good, bad, stalled):
            names = {each.name for each in (good, bad, stalled)}

            def all_synced(rows: dict[str, list[str]], _: str) -> bool:
                return rows.keys() == names and all(
                    row[1:3] == ["SYNCED (AGE)"] * 2 for row in rows.values()
                )

            for replica in (serving, asked):
                await told_in_time(replica, all_synced)

            bad.mood, stalled.mood = "bad", "stalled"
            pair.change(1)

            def as_they_are(rows: dict[str, list[str]], _: str) -> bool:
                shown = {name: row[2].partition(" ")[0] for name, row in rows.items()}
                return shown == {good.name: "SYNCED", bad.name: "ERROR", stalled.name: "STALE"}

            await told_in_time(asked, as_they_are)
            await told_in_time(serving, as_they_are)
            assert await states(asked) == await states(serving)

            await pair.kill(serving.name)

            def nobody(rows: dict[str, list[str]], beside: str) -> bool:
                silent = f"{serving.name} has been silent for"
                return rows == {} and silent in beside and "No proxies" in beside

            await told_in_time(asked, nobody)
            assert await states(asked) == {}
