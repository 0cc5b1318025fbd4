"""Real streams: who is connected, who has which commit, and debug questions over TLS."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from controlplane.authentication.caller import Caller
from controlplane.clock import SystemClock
from controlplane.dataflow import Batcher
from controlplane.insight.client_config import client_config, control_plane_identifier
from controlplane.insight.commits import CommitLog
from controlplane.insight.sync import SyncState, connection_verdict
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.intake import Intake
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE
from controlplane.sources.source import Origin
from controlplane.xds.debug import DebugQuestion
from controlplane.xds.errors import ForbiddenError
from controlplane.xds.identity import Access
from controlplane.xds.observer import SilentObserver
from controlplane.xds.server import SERVICE, XdsServer
from controlplane.xds.settings import XdsSettings
from tests.integration.test_xds_server import (
    EOF,
    Badge,
    Proxy,
    a_certificate,
    connected,
    failure,
    serving,
    stream_of,
    write_if_open,
)
from tests.support.builders import a_service
from tests.support.discovery import ModelClient, a_catalog, a_request, a_workload, put

POD = a_workload("c//Pod/ns/a")
QUESTIONS = f"/{SERVICE}/StreamAggregatedResources"
SYNCZ = "istio.io/debug/syncz"


class Mesh:
    """A catalog with a log; ``watch`` ties both to a server."""

    def __init__(self) -> None:
        self.catalog = a_catalog(POD)
        self.log = CommitLog(self.catalog, SystemClock(), replica="r-1")

    def watch(self, server: XdsServer) -> None:
        self.log.follow(server.fleet.followers)
        server.fleet.follow(self.log.behind_since)


class Syncz:
    """Answers about the fleet of a server, to the system namespace only."""

    identifier = control_plane_identifier("r-1", "0.1")

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    async def answer(self, question: DebugQuestion, caller: Caller | None) -> Sequence[bytes]:
        if caller is not None and caller.namespace != "istio-system":
            raise ForbiddenError("only the system namespace may ask")
        assert question.name == "syncz"
        now = datetime.now(UTC)
        return [client_config(each, now) for each in self._server.fleet.connections()]


async def opened(channel: grpc.aio.Channel) -> Proxy:
    """Return a waypoint that has accepted the whole mesh."""
    proxy = Proxy(channel, ModelClient(watches_policies=False))
    first = proxy.model.requests(kind="waypoint", node_name="n")[0]
    await proxy.stream.write(first.SerializeToString())
    await proxy.step()
    return proxy


async def test_a_commit_is_followed_to_the_last_client() -> None:
    mesh = Mesh()
    gone = asyncio.Event()

    class Doorkeeper(SilentObserver):
        def disconnected(self, client: int, reason: str) -> None:
            gone.set()

    async with (
        serving(mesh.catalog, observer=Doorkeeper()) as (server, port),
        connected(port) as channel,
    ):
        mesh.watch(server)
        good, slow, bad = [await opened(channel) for _ in range(3)]
        assert (await mesh.log.wait_for(1, seconds=15)).is_converged
        number = put(mesh.catalog, a_workload("c//Pod/ns/b"))
        await good.step()
        unanswered = await slow.stream.read()
        refused = discovery_pb2.DeltaDiscoveryResponse.FromString(await bad.stream.read())
        nack = a_request(ADDRESS_TYPE, nonce=refused.nonce, error="c//Pod/ns/b: bad")
        await bad.stream.write(nack.SerializeToString())

        # What was written above is on its way to the server for a while.
        async with asyncio.timeout(15):
            while True:
                waiting = await mesh.log.wait_for(number, seconds=0)
                progress = waiting.progress
                if (progress.concerned, progress.acknowledged, progress.refused) == (3, 1, 1):
                    break
                await asyncio.sleep(0.01)
        assert not waiting.is_converged
        assert [each.is_sent for each in progress.waiting] == [True]
        assert progress.refusals[0].names == ("c//Pod/ns/b",)
        now = datetime.now(UTC)
        verdicts = [connection_verdict(each, now).state for each in server.fleet.connections()]
        assert sorted(verdicts) == [SyncState.ERROR, SyncState.STALE, SyncState.SYNCED]

        await slow.stream.write(slow.model.apply(unanswered).SerializeToString())
        bad.stream.cancel()
        await asyncio.wait_for(gone.wait(), 15)
        done = await mesh.log.wait_for(number, seconds=15)
        assert (done.is_converged, done.progress.acknowledged) == (True, 2)
        record = mesh.log.get(number)
        assert record is not None
        assert record.types[0].names == ("c//Pod/ns/b",)
        assert record.progress.median_seconds is not None
        assert 0 < record.progress.median_seconds < 15


async def test_a_manifest_is_followed_to_the_last_client() -> None:
    clock = SystemClock()
    pipeline = build_pipeline(MeshSettings())
    catalog = Catalog()
    pipeline.publish_to(catalog)
    log = CommitLog(catalog, clock, replica="r-1")
    batcher = Batcher(pipeline.graph, clock, on_batch=log.batched)
    pipeline.graph.on_commit(lambda _: log.finished())
    intake = Intake(pipeline.inputs, pipeline.found_problems, batcher, log)
    committing = asyncio.create_task(batcher.run())
    async with serving(catalog) as (server, port), connected(port) as channel:
        log.follow(server.fleet.followers)
        proxy = await opened(channel)
        service = a_service("web")
        intake.put(service, Origin(file="mesh.yaml", line=1))
        waiting = asyncio.create_task(log.wait_for_object(service.reference, seconds=15))
        await proxy.step()
        waited = await waiting
        committing.cancel()
    assert (waited.is_converged, waited.number) == (True, 1)
    record = log.get(1)
    assert record is not None
    assert [each.object for each in record.causes] == [service.reference]
    assert [each.updated for each in record.types] == [1]
    assert record.received_at is not None
    assert record.received_at <= record.committed_at


async def asked(stream: Any, type_url: str = SYNCZ) -> Any:
    await stream.write(discovery_pb2.DiscoveryRequest(type_url=type_url).SerializeToString())
    body = await stream.read()
    assert body is not EOF
    return discovery_pb2.DiscoveryResponse.FromString(body)


@pytest.mark.proves("FL-22", "FL-23")
async def test_syncz_is_answered_over_tls_to_who_may_ask() -> None:
    mesh = Mesh()
    pair = a_certificate()
    access = Access(authenticator=Badge())
    async with (
        serving(mesh.catalog, pair=pair, access=access) as (server, port),
        connected(port, pair) as channel,
    ):
        server.answer_debug(Syncz(server))
        stream = stream_of(channel, QUESTIONS, authorization="istio-system")
        assert [*(await asked(stream)).resources] == []
        code, text = await failure_of(channel, "default")
        assert (code, text) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "only the system namespace may ask",
        )
        code, _ = await failure_of(channel, "")
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, text = await failure_of(channel, "istio-system", ADDRESS_TYPE)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "DeltaAggregatedResources" in text


async def failure_of(
    channel: grpc.aio.Channel, namespace: str, type_url: str = SYNCZ
) -> tuple[grpc.StatusCode, str]:
    metadata = {"authorization": namespace} if namespace else {}
    stream = stream_of(channel, QUESTIONS, **metadata)
    question = discovery_pb2.DiscoveryRequest(type_url=type_url)
    await write_if_open(stream, question.SerializeToString())
    return await failure(stream)


@pytest.mark.refutes("FL-22")
async def test_where_nobody_is_asked_everybody_may_ask() -> None:
    mesh = Mesh()
    settings = XdsSettings(replica="r-1")
    async with serving(mesh.catalog, settings=settings) as (server, port):
        server.answer_debug(Syncz(server))
        async with connected(port) as channel:
            await opened(channel)
            assert [each.replica for each in server.fleet.connections()] == ["r-1"]
            assert (await mesh_synced(mesh, server)).is_converged
            response = await asked(stream_of(channel, QUESTIONS))
        assert json.loads(response.control_plane.identifier)["ID"] == "r-1"
        (resource,) = response.resources
        config = csds_pb2.ClientConfig()
        assert resource.Unpack(config)
        assert config.node.id == "proxy-1.istio-system"
        assert config.generic_xds_configs[0].config_status == csds_pb2.SYNCED


async def mesh_synced(mesh: Mesh, server: XdsServer) -> Any:
    mesh.watch(server)
    return await mesh.log.wait_for(1, seconds=15)


async def test_open_questions_do_not_hold_up_the_end() -> None:
    mesh = Mesh()
    async with serving(mesh.catalog) as (server, port), connected(port) as channel:
        server.answer_debug(Syncz(server))
        stream = stream_of(channel, QUESTIONS)
        await asked(stream)
        # Well before its patience with open streams ends.
        await asyncio.wait_for(server.stop(60), 15)
        assert await stream.read() is EOF
