"""Traces reach a collector over HTTP; one that is away is in nobody's way."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.settings import Settings
from controlplane.tracing import AT_ONCE, Span, Tracing
from tests.support.replicas import running

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
"""


class Collector:
    """Takes OTLP over HTTP and keeps the spans; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self._heard = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.headers.append(dict(request.headers))
        for group in (await request.json())["resourceSpans"]:
            facts = group["resource"]["attributes"]
            self.resources.append({each["key"]: each["value"]["stringValue"] for each in facts})
            spans = [span for scope in group["scopeSpans"] for span in scope["spans"]]
            self.sizes.append(len(spans))
            if self.status == 200:
                self.spans += spans
        self._heard.set()
        return web.json_response({}, status=self.status)

    async def until(self, count: int) -> None:
        while len(self.spans) < count:
            self._heard.clear()
            await self._heard.wait()

    def attributes(self, span: Any) -> dict[str, Any]:
        return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


@asynccontextmanager
async def a_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    collector.url = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def a_span(name: str = "commit", *children: Span, trouble: str = "") -> Span:
    return Span(
        name=name,
        began_at=START,
        ended_at=START + timedelta(seconds=1.5),
        attributes={"istiod_lite.commit": 7, "istiod_lite.objects": ["Pod/ns/a"]},
        children=children,
        trouble=trouble,
    )


async def test_a_trace_arrives_with_its_parts_times_and_troubles() -> None:
    async with a_collector() as collector:
        tracing = Tracing(collector.url + "/", version="1.2", replica="r-1")
        tracing.export(a_span("commit", a_span("deliver", trouble="refused"), a_span("send")))
        await tracing.close(15.0)
    by_name = {span["name"]: span for span in collector.spans}
    assert set(by_name) == {"commit", "deliver", "send"}
    root = by_name["commit"]
    assert "parentSpanId" not in root
    assert {span["traceId"] for span in collector.spans} == {root["traceId"]}
    assert (len(root["traceId"]), len(root["spanId"])) == (32, 16)
    parents = {by_name[name]["parentSpanId"] for name in ("send", "deliver")}
    assert parents == {root["spanId"]}
    assert int(root["startTimeUnixNano"]) == int(START.timestamp()) * 1_000_000_000
    assert _nanoseconds(root) == 1_500_000_000
    assert collector.attributes(root)["istiod_lite.commit"] == "7"
    assert by_name["deliver"]["status"] == {"code": 2, "message": "refused"}
    assert root["status"] == {"code": 0}
    facts = collector.resources[0]
    assert facts["service.name"] == "istiod-lite"
    assert (facts["service.version"], facts["service.instance.id"]) == ("1.2", "r-1")


async def test_headers_for_the_collector_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop, authorization=Bearer%20abc")
    async with a_collector() as collector:
        tracing = Tracing(collector.url, version="1", replica="r")
        tracing.export(a_span())
        await tracing.close(15.0)
    told = {name.lower(): value for name, value in collector.headers[0].items()}
    assert (told["x-tenant"], told["authorization"]) == ("shop", "Bearer abc")


async def test_spans_are_sent_few_at_a_time() -> None:
    async with a_collector() as collector:
        tracing = Tracing(collector.url, version="1", replica="r")
        for _ in range(AT_ONCE * 3):
            tracing.export(a_span())
        await tracing.close(15.0)
    assert len(collector.spans) == AT_ONCE * 3
    assert max(collector.sizes) <= AT_ONCE


async def test_a_collector_that_is_away_holds_up_nobody_and_is_told_of_once() -> None:
    async with a_collector() as collector:
        pass
    with structlog.testing.capture_logs() as logged:
        tracing = Tracing(collector.url, version="1", replica="r")
        began = time.monotonic()
        for _ in range(5000):
            tracing.export(a_span())
        exported = time.monotonic() - began
        await tracing.close(0.5)
    assert exported < 5
    assert time.monotonic() - began < exported + 3
    assert [each["event"] for each in logged].count("tracing.troubled") == 1


async def test_a_commit_is_traced_from_its_file_to_the_last_client(tmp_path: Path) -> None:
    manifests = tmp_path / "mesh"
    manifests.mkdir()
    (manifests / "web.yaml").write_text(SERVICE)
    async with a_collector() as collector:
        settings = Settings(
            cluster="none",
            files=manifests,
            data_dir=tmp_path / "data",
            xds_port=0,
            admin_port=0,
            plaintext=True,
            plaintext_port=0,
            otlp_endpoint=collector.url,
        )
        async with running(settings) as process:
            await process.started.wait()
            target = Target(address=f"127.0.0.1:{process.plaintext_port}")
            session = Session(NodeIdentity(node_name="node-1"))
            async with ZtunnelClient(target, session) as client:
                await client.wait_for(lambda client: bool(client.state.services.by_key))
                (manifests / "cart.yaml").write_text(
                    SERVICE.replace("web", "cart").replace("10.0.0.1", "10.0.0.2")
                )
                await client.wait_for(lambda client: len(client.state.services.by_key) == 2)
                while "deliver" not in {span["name"] for span in collector.spans}:
                    await collector.until(len(collector.spans) + 1)
    delivery = next(span for span in collector.spans if span["name"] == "deliver")
    trace = [span for span in collector.spans if span["traceId"] == delivery["traceId"]]
    assert sorted(span["name"] for span in trace) == ["commit", "compute", "deliver", "send"]
    root = next(span for span in trace if span["name"] == "commit")
    facts = collector.attributes(root)
    assert facts["istiod_lite.objects"]["values"] == [{"stringValue": "Service shop/cart"}]
    assert (facts["istiod_lite.concerned"], facts["istiod_lite.acknowledged"]) == ("1", "1")
    assert collector.attributes(delivery)["istiod_lite.node"] == "node-1"
    assert int(root["startTimeUnixNano"]) <= int(delivery["startTimeUnixNano"])
    assert int(delivery["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])


def _nanoseconds(span: Any) -> int:
    return int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])


def test_nothing_of_it_is_loaded_where_nobody_asks_for_it() -> None:
    code = (
        "import sys, controlplane.app.process, controlplane.app.commit_tracing; "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk') "
        "or name.startswith('opentelemetry.exporter')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("status", [400, 503])
async def test_a_collector_that_refuses_is_told_of(status: int) -> None:
    async with a_collector() as collector:
        collector.status = status
        with structlog.testing.capture_logs() as logged:
            tracing = Tracing(collector.url, version="1", replica="r")
            tracing.export(a_span())
            await tracing.close(15.0)
    assert "tracing.troubled" in [each["event"] for each in logged]
    assert collector.spans == []
