"""A process fetches the keys that policies name, and waypoints are sent what it found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.authentication.key_set import read_key_set
from controlplane.model.names import Name
from controlplane.model.token_rule import REFUSING_KEYS, FetchedKeySet
from controlplane.settings import Settings
from tests.support.issuer_server import IssuerServer, an_issuer_server, never
from tests.support.replicas import started
from tests.support.tokens import key_set

MESH = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  clusterIP: 10.0.0.1
  ports: [{port: 80, name: http}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  jwtRules: [{issuer: somebody, jwksUri: "%s"}]
"""


def _settings(folder: Path, **fields: Any) -> Settings:
    (folder / "manifests").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "files": folder / "manifests",
        "data_dir": folder / "data",
        "xds_port": 0,
        "admin_port": 0,
        "key_sets_on_this_machine": True,
    }
    return Settings(**(values | fields))


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    async with an_issuer_server() as running:
        yield running


def _write(settings: Settings, uri: str) -> None:
    (settings.files / "mesh.yaml").write_text(MESH % uri)


def _sent(process: Process) -> list[str]:
    """Keys that the filter chains of the waypoint are made of."""
    rules = process.pipeline.world.token_rules.by_service
    return [rule.keys for _, value in rules.items() for rule in value]


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - files and servers have no event of ours
            await asyncio.sleep(0.02)


@pytest.mark.proves("RA-28")
@pytest.mark.timeout(60)
async def test_it_serves_when_it_has_asked_and_follows_the_policies(
    server: IssuerServer, tmp_path: Path
) -> None:
    settings = _settings(tmp_path, key_set_refresh=1)
    uri = f"{server.url}/keys"
    _write(settings, uri)
    keys = read_key_set(key_set())
    async with started(settings) as process:
        await _until(lambda: not process.waiting_for())
        assert _sent(process) == [keys]
        server.answers["/keys"] = key_set("two")
        await _until(lambda: _sent(process) == [read_key_set(key_set("two"))])
        server.answers["/keys"] = "gone"
        found = process.pipeline.inputs.key_sets
        await _until(lambda: bool(getattr(found.get(uri), "failure", "")))
        assert _sent(process) == [read_key_set(key_set("two"))]
        await _until(lambda: "token.unusable-keys" in {each.code for each in process.problems})
        # Somewhere else: that is asked, and nobody waits for it to serve.
        server.answers["/other"] = never
        _write(settings, f"{server.url}/other")
        await _until(lambda: _sent(process) == [REFUSING_KEYS])
        assert process.waiting_for() == []
        await _until(lambda: not len(found))
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{process.admin_port}/metrics")
        values = dict(
            line.split(" ")
            for line in answer.text.splitlines()
            if "jwks" in line and line[0] != "#"
        )
        assert float(values["pilot_jwks_resolver_network_fetch_success_total"]) >= 2
        assert float(values["pilot_jwks_resolver_network_fetch_fail_total"]) >= 1


@pytest.mark.refutes("RA-28")
@pytest.mark.timeout(60)
async def test_it_waits_for_an_issuer_that_does_not_answer_and_then_serves(
    server: IssuerServer, tmp_path: Path
) -> None:
    settings = _settings(tmp_path)
    server.answers["/keys"] = never
    uri = f"{server.url}/keys"
    _write(settings, uri)
    async with started(settings) as process:
        await _until(lambda: process.pipeline.graph.ready)
        assert process.waiting_for() == ["keys of token issuers have not been asked for yet: 1"]
        await _until(lambda: not process.waiting_for())
        reason = "it did not come within 5 seconds"
        assert process.pipeline.inputs.key_sets.get(uri) == FetchedKeySet(uri, "", reason)
        assert _sent(process) == [REFUSING_KEYS]


@pytest.mark.proves("RA-22")
@pytest.mark.timeout(60)
async def test_by_default_this_machine_is_not_asked(server: IssuerServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, key_sets_on_this_machine=False)
    _write(settings, f"{server.url}/keys")
    async with started(settings) as process:
        await _until(lambda: not process.waiting_for())
        assert _sent(process) == [REFUSING_KEYS]
        await _until(lambda: "token.unusable-keys" in {each.code for each in process.problems})
        assert server.requests == []
        scope = process.pipeline.waypoints.listeners.items()
        assert {key.waypoint for key, _ in scope} == {Name("shop", "waypoint")}


async def test_roots_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    process = Process(_settings(tmp_path, key_set_roots=tmp_path / "absent.pem"))
    with pytest.raises(StartupError, match="token issuers"):
        await process.run()
