"""Garbage on streams and in folders: a status or a Problem each, and nobody else notices."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.app.process import Process
from controlplane.lab.examples import example_folder
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.manifests.documents import Limits
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.compilation import Compiled, compile_manifests
from controlplane.settings import Settings
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, WORKLOAD_TYPE
from controlplane.sources.paths import read_paths
from tests.fuzz.manifest_mutations import CORPUS, named, spoiled

FOLDERS = 500
LIMITS = Limits(bytes=64 * 1024, values=10_000)
CONVERSATIONS = 500
PATIENCE = 10.0
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
EOF: Any = grpc.aio.__dict__["EOF"]  # the type stubs lack it
Request = Any


def _compiled(folder: Path) -> Compiled:
    return compile_manifests(
        read_paths([folder], limits=LIMITS).objects, MeshSettings(expands=True)
    )


def _served(compiled: Compiled) -> dict[str, str]:
    resources = (*compiled.addresses(), *compiled.authorizations())
    return {resource.name: resource.version for resource in resources}


@pytest.mark.timeout(90)
def test_garbage_in_folders_does_not_change_what_is_served(tmp_path: Path) -> None:
    random_ = random.Random(11)
    clean = tmp_path / "clean"
    clean.mkdir()
    values = [named(value, f"good-{number}") for number, value in enumerate(CORPUS)]
    (clean / "all.yaml").write_text(yaml.safe_dump_all(values))
    compiled = _compiled(clean)
    served, conditions = _served(compiled), compiled.conditions
    assert len(served) > 5
    for number in range(FOLDERS):
        folder = tmp_path / str(number)
        shutil.copytree(clean, folder)
        name = random_.choice(["a", "n", "z"]) + random_.choice([".yaml", ".yml", ".json"])
        (folder / name).write_bytes(spoiled(random_, "garbage").encode())
        assert read_paths([folder], limits=LIMITS).problems
        after = _compiled(folder)
        assert _served(after) == served
        assert after.conditions == conditions
        shutil.rmtree(folder)


def _valid(random_: random.Random) -> Request:
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=random_.choice([ADDRESS_TYPE, AUTHORIZATION_TYPE, WORKLOAD_TYPE])
    )
    request.node.id = "ztunnel~1.1.1.1~ztunnel-x.istio-system~istio-system.svc.cluster.local"
    request.node.metadata.update({"NODE_NAME": "node-1", "NAMESPACE": "istio-system"})
    if random_.random() < 0.3:
        request.resource_names_subscribe.append(random_.choice(["*", "/10.0.0.1", "a/b.c"]))
    if random_.random() < 0.2:
        request.resource_names_unsubscribe.append("*")
    if random_.random() < 0.3:
        request.initial_resource_versions["Kubernetes//Pod/bookinfo/gone"] = "1"
    return request


def _noise(random_: random.Random) -> str:
    return random_.choice(
        ["", "~", "*", "/", "a/" * 2000, "\x00", "é" * 50, "net/::1", "x" * 70000]
    )


def _bad_node(request: Request, random_: random.Random) -> bytes:
    request.node.id = random_.choice(
        [
            "",
            "a",
            "~~~",
            "ztunnel~x~y.z~d",
            "unknown~1.1.1.1~a.b~b.svc",
            f"ztunnel~{_noise(random_)}",
        ]
    )
    return bytes(request.SerializeToString())


def _bad_metadata(request: Request, random_: random.Random) -> bytes:
    odd = random_.choice([{"NODE_NAME": 7}, {"NODE_NAME": ["x"]}, {"NAMESPACE": _noise(random_)}])
    request.node.metadata.update(odd)
    request.node.metadata.update({"INSTANCE_IPS": _noise(random_)})
    return bytes(request.SerializeToString())


def _bad_names(request: Request, random_: random.Random) -> bytes:
    request.resource_names_subscribe.extend(_noise(random_) for _ in range(20))
    request.resource_names_unsubscribe.extend(_noise(random_) for _ in range(20))
    for _ in range(5):
        request.initial_resource_versions[_noise(random_)] = _noise(random_)
    return bytes(request.SerializeToString())


def _bad_nonce(request: Request, random_: random.Random) -> bytes:
    request.response_nonce = random_.choice(["0", "-1", "999999", "1.1", _noise(random_)])
    if random_.random() < 0.5:
        request.error_detail.message = _noise(random_)
        request.error_detail.code = random_.randrange(-5, 20)
    return bytes(request.SerializeToString())


def _bad_type(request: Request, random_: random.Random) -> bytes:
    request.type_url = random_.choice(
        [
            "",
            _noise(random_),
            "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ADDRESS_TYPE[1:],
        ]
    )
    return bytes(request.SerializeToString())


def _bad_bytes(request: Request, random_: random.Random) -> bytes:
    data = bytearray(request.SerializeToString())
    for _ in range(random_.randrange(1, 6)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data[: random_.randrange(1, len(data) + 1)])


def _fine(request: Request, _: random.Random) -> bytes:
    return bytes(request.SerializeToString())


MUTATIONS: tuple[Callable[[Request, random.Random], bytes], ...] = (
    _bad_node,
    _bad_metadata,
    _bad_names,
    _bad_nonce,
    _bad_type,
    _bad_bytes,
    _fine,
)


async def _converse(channel: Any, random_: random.Random) -> grpc.StatusCode:
    """Say a few odd things, hear a few answers, leave in one of several ways."""
    stream = channel.stream_stream(METHOD)()
    try:
        for _ in range(random_.randrange(1, 6)):
            await stream.write(random_.choice(MUTATIONS)(_valid(random_), random_))
            if random_.random() < 0.3:
                reading = asyncio.ensure_future(stream.read())
                await asyncio.wait({reading}, timeout=0.02)
                if not reading.done():
                    stream.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        if random_.random() < 0.5:
            stream.cancel()
        else:
            await stream.done_writing()
            while await stream.read() is not EOF:
                pass
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        pass
    code: grpc.StatusCode = await stream.code()
    if (await stream.details() or "").startswith("Internal error from Core"):
        return (
            grpc.StatusCode.CANCELLED
        )  # the client's library: it wrote to a stream that had ended
    return code


@pytest.mark.timeout(120)
async def test_odd_conversations_end_with_a_status_and_hurt_nobody(tmp_path: Path) -> None:
    manifests = tmp_path / "bookinfo"
    shutil.copytree(example_folder("bookinfo"), manifests)
    process = Process(
        Settings(
            files=manifests,
            data_dir=tmp_path / "data",
            xds_port=0,
            admin_port=0,
            plaintext=True,
            plaintext_port=0,
            max_new_streams_per_second=100_000,
        )
    )
    random_ = random.Random(12)
    codes = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        address = f"127.0.0.1:{process.plaintext_port}"
        healthy = ZtunnelClient(Target(address=address), Session(NodeIdentity(node_name="node-1")))
        async with healthy, grpc.aio.insecure_channel(address) as channel:
            await healthy.wait_for(lambda client: client.session.is_ready, PATIENCE)
            before = healthy.state.view()
            for _ in range(CONVERSATIONS):
                ending = _converse(channel, random.Random(random_.random()))
                codes.append(await asyncio.wait_for(ending, PATIENCE))
            (manifests / "more.yaml").write_text(
                "apiVersion: v1\nkind: Service\nmetadata: {name: more}\n"
                "spec: {clusterIP: 10.0.0.9, ports: [{port: 1}]}\n"
            )
            await healthy.wait_for(
                lambda client: any(s.name == "more" for s in client.state.services.by_key.values()),
                PATIENCE,
            )
            after = healthy.state.view()
            assert healthy.nacks == []
            assert healthy.session.stream == 1
        process.stop()
    assert set(codes) <= EXPECTED
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    name = "default/more.default.svc.cluster.local"
    assert set(before.differences(after)) == {f"services {name}", f"endpoints {name}"}
    assert process.pipeline.graph.failures == {}
