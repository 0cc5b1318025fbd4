"""A client that comes back over real gRPC with everything it holds is sent nothing again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.clock import SystemClock
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.xds.server import SERVICE, Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from tests.bench.build import Built, build
from tests.bench.mesh import Sizes, a_pod
from tests.support.discovery import ModelClient

SIZES = Sizes(pods=2_000, services=200, policies=20, namespaces=10, nodes=10)
METHOD = f"/{SERVICE}/DeltaAggregatedResources"


@asynccontextmanager
async def serving(built: Built) -> AsyncIterator[int]:
    server = XdsServer(built.catalog, XdsSettings(), SystemClock())
    (port,) = await server.start([Listener(address="127.0.0.1:0")])
    try:
        yield port
    finally:
        await server.stop(1)


@asynccontextmanager
async def streaming(port: int, client: ModelClient) -> AsyncIterator[dict[str, Any]]:
    """Connect, acknowledge the first response of each type, yield them by type."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stream: Any = channel.stream_stream(METHOD)()
        for request in client.requests(node_name="node-1"):
            await stream.write(request.SerializeToString())
        responses = {}
        while len(responses) < 2:
            body = await stream.read()
            acknowledgement = client.apply(body)
            await stream.write(acknowledgement.SerializeToString())
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
            responses[response.type_url] = response
        yield responses
        stream.cancel()


@pytest.mark.timeout(60)
async def test_a_client_that_knows_every_version_is_answered_without_resources() -> None:
    built = build(SIZES)
    client = ModelClient()
    async with serving(built) as port:
        async with streaming(port, client) as first:
            assert len(first[ADDRESS_TYPE].resources) == SIZES.pods + SIZES.services
        async with streaming(port, client) as again:
            for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
                assert not again[type_url].resources
                assert not again[type_url].removed_resources


@pytest.mark.timeout(60)
async def test_a_client_that_was_away_is_sent_exactly_what_changed() -> None:
    built = build(SIZES)
    client = ModelClient()
    pods = built.pipeline.inputs.pods
    async with serving(built) as port:
        async with streaming(port, client):
            pass
        with built.pipeline.graph.transaction():
            pods.put(a_pod(SIZES, 3, ready=False))
            pods.remove(a_pod(SIZES, 4).key)
        async with streaming(port, client) as again:
            changed, gone = a_pod(SIZES, 3).metadata, a_pod(SIZES, 4).metadata
            assert [each.name for each in again[ADDRESS_TYPE].resources] == [
                f"Kubernetes//Pod/{changed.namespace}/{changed.name}"
            ]
            assert [*again[ADDRESS_TYPE].removed_resources] == [
                f"Kubernetes//Pod/{gone.namespace}/{gone.name}"
            ]
