"""Two replicas and their clients as command, API and page tell of them, whichever is asked."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
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

KEPT_AFTER = 6.0
"""So long after a commit it is written down."""


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


async def api_states(replica: ReplicaProcess) -> tuple[dict[str, str], str]:
    """Return the states that the API tells, by name, and what it says beside that."""
    async with httpx.AsyncClient(base_url=url_of(replica)) as client:
        page = (await client.get("/api/v1/connections")).json()
        fleet = (await client.get("/api/v1/fleet")).json()
    return {each["name"]: each["state"] for each in page["items"]}, fleet["trouble"]


async def page_states(replica: ReplicaProcess) -> tuple[dict[str, str], str]:
    """Return the worst state in each row of the page's table of clients, and the whole text."""
    async with httpx.AsyncClient(base_url=url_of(replica)) as client:
        page = (await client.get("/connections")).text
    text = re.sub(r"<wbr>", "", page)
    found = {}
    for row in re.findall(r'<tr>\s*<th scope="row".*?</tr>', text, re.DOTALL):
        (name,) = re.findall(r'data-label="Client"><a[^>]*>([^<]+)</a>', row)
        words = re.findall(r"\b(ERROR|STALE|NOT SENT|SYNCED)\b", re.sub(r"<[^>]*>", " ", row))
        found[name] = min(words, key=("ERROR", "STALE", "NOT SENT", "SYNCED").index)
    return found, text


async def command_states(replica: ReplicaProcess) -> tuple[dict[str, str], str]:
    """Return the worst state in each row that ``proxy-status`` prints, and what it says beside."""
    rows, beside = await proxy_status(replica)
    found: dict[str, str] = {}
    for name, row in rows.items():
        words = [re.sub(r" \(.*", "", cell) for cell in row]
        told = [each for each in ("ERROR", "STALE", "NOT SENT", "SYNCED") if each in words]
        found[name] = told[0]
    return found, beside


async def told_in_time(
    replica: ReplicaProcess, states: Mapping[str, str], beside: str = ""
) -> None:
    """Ask command, API and page until all are right; whoever asks after SECONDS is told so."""
    loop = asyncio.get_running_loop()
    happened = loop.time()
    for ask in (command_states, api_states, page_states):
        while True:
            asked = loop.time() - happened
            found, said = await ask(replica)
            if found == states and beside in said:
                break
            assert asked < SECONDS, (ask.__name__, found, said)


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

            for replica in (serving, asked):
                await told_in_time(replica, dict.fromkeys(names, "SYNCED"))

            bad.mood, stalled.mood = "bad", "stalled"
            pair.change(1)
            as_they_are = {good.name: "SYNCED", bad.name: "ERROR", stalled.name: "STALE"}
            await told_in_time(asked, as_they_are)
            await told_in_time(serving, as_they_are)
            await blamed(asked)

            await asyncio.sleep(KEPT_AFTER)
            await pair.kill(serving.name)
            await told_in_time(asked, {}, beside=f"{serving.name} has been silent for")
            await remembered(asked, serving.name)


async def blamed(replica: ReplicaProcess) -> None:
    """See that the refusal names the object behind the resource, and its version."""
    async with httpx.AsyncClient(base_url=url_of(replica)) as client:
        refused = (await client.get("/api/v1/connections?state=ERROR")).json()["items"]
        (named,) = [each for kind in refused[0]["types"] for each in kind["rejected"]]
        assert named["object"]["kind"] == "Service"
        path = f"/api/v1/services/{named['name']}"
        source = (await client.get(path)).json()["source"]
    assert source["object"] == named["object"]
    assert source["file"] == "kubernetes"
    assert int(source["resource_version"]) > 0


async def remembered(replica: ReplicaProcess, dead: str) -> None:
    """See that commits of a replica that is gone are told as they were written down."""
    async with httpx.AsyncClient(base_url=url_of(replica)) as client:
        page = (await client.get("/api/v1/commits", params={"replica": dead})).json()
    assert page["trouble"] == ""
    assert page["items"]
    assert {(each["replica"], each["is_stored"]) for each in page["items"]} == {(dead, True)}
    assert max(each["progress"]["refused"] for each in page["items"]) == 1
