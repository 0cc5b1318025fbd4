from contextlib import suppress

import pytest
from prometheus_client import generate_latest

from controlplane.app.observed_client import ObservedClient, written_resource
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.metrics import Metrics
from tests.support.cluster_memory import ClusterMemory, a_refusal

MAPS = "/api/v1/namespaces/shop/configmaps"
A_MAP = b'{"metadata": {"name": "m"}}'


async def test_writes_are_counted_by_what_came_of_them_and_reads_are_not() -> None:
    metrics, memory = Metrics("1"), ClusterMemory()
    client = ObservedClient(memory, metrics.cluster)
    assert (await client.request("POST", MAPS, body=A_MAP)).status == 201
    assert (await client.request("GET", f"{MAPS}/m")).status == 200
    memory.fail("POST", a_refusal(403), ClusterUnavailableError("away"))
    await client.request("POST", MAPS, body=A_MAP)
    with suppress(ClusterUnavailableError):
        await client.request("POST", MAPS, body=A_MAP)
    text = generate_latest(metrics.registry).decode()
    counted = [line for line in text.splitlines() if line.startswith("istiod_lite_writes_total{")]
    assert sorted(counted) == [
        'istiod_lite_writes_total{outcome="403",resource="configmaps"} 1.0',
        'istiod_lite_writes_total{outcome="unavailable",resource="configmaps"} 1.0',
        'istiod_lite_writes_total{outcome="written",resource="configmaps"} 1.0',
    ]


async def test_watches_pass_through() -> None:
    client = ObservedClient(ClusterMemory(events=[b"{}"]), Metrics("1").cluster)
    assert [line async for line in client.stream(MAPS, {})] == [b"", b"{}"]


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/shop/services/web/status", "services/status"),
        ("/api/v1/namespaces/shop", "namespaces"),
        ("/api/v1/namespaces/shop/status", "namespaces/status"),
        ("/apis/gateway.networking.k8s.io/v1/gatewayclasses/a/status", "gatewayclasses/status"),
        ("/apis/apps/v1/namespaces/shop/deployments", "deployments"),
        ("/", ""),
    ],
)
def test_what_is_written_is_told_by_the_path(path: str, resource: str) -> None:
    assert written_resource(path) == resource
