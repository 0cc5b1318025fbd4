"""Benchmark ``waypoints``: what real Envoys and many sessions of waypoints are sent, and when.

``one``: a waypoint with many services and a real Envoy. Latencies run from the start of the
transaction until the Envoy has acknowledged what the change made; of pods also until its own
counters say so. ``many``: waypoints with a few services each, some of them real Envoys, the others
clients in another process. Latencies run until everybody who is concerned has acknowledged.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from tests.bench.load_process import LoadProcess
from tests.bench.measure import median, percentile, settled_resident
from tests.bench.waypoint_mesh import (
    WAYPOINT,
    Size,
    a_pod,
    a_policy,
    a_route,
    a_service,
    hostname_of,
    manifests,
    namespace_of,
    service_of,
)

if TYPE_CHECKING:
    from controlplane.dataflow import Graph
    from tests.bench.waypoint_server import Built, Served

_PAUSE = 0.03
_LIMIT = 60.0
_ENVOYS = "tests.bench.waypoint_envoys"
_ENDPOINTS, _CLUSTERS, _LISTENERS, _ROUTES, _SECRETS = (
    "ClusterLoadAssignment",
    "Cluster",
    "Listener",
    "RouteConfiguration",
    "Secret",
)
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """How often each kind of change is made."""

    pods: int = 200
    edits: int = 50
    services: int = 20


def one(emit: Emit, *, services: int, turns: Turns) -> None:
    """Measure one waypoint with ``services`` services."""
    size = Size(services=services)
    described = {"bench": "waypoints", "waypoints": 1, "services": services, "pods": size.pods}
    with tempfile.TemporaryDirectory() as folder, LoadProcess(_ENVOYS) as envoys:
        tell = _teller(emit, described)
        uvloop.run(_one(tell, size, turns, envoys, Path(folder)))


def many(emit: Emit, *, waypoints: int, envoys: int, turns: Turns) -> None:
    """Measure ``waypoints`` waypoints with 20 services each, ``envoys`` of them real."""
    size = Size(waypoints=waypoints, services=20)
    described = {
        "bench": "waypoints",
        "waypoints": waypoints,
        "envoys": envoys,
        "services": size.services,
        "pods": size.pods,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        LoadProcess("tests.bench.waypoint_load") as load,
        LoadProcess(_ENVOYS) as real,
    ):
        tell = _teller(emit, described)
        uvloop.run(_many(tell, size, turns, Clients(load, real, envoys), Path(folder)))


class Clients(NamedTuple):
    """The processes of clients, and how many waypoints are real Envoys: the first ones."""

    load: LoadProcess
    real: LoadProcess
    envoys: int


def _teller(emit: Emit, described: Mapping[str, Any]) -> Emit:
    return lambda result: emit({**described, **result})


async def _one(emit: Emit, size: Size, turns: Turns, envoys: LoadProcess, folder: Path) -> None:
    from tests.bench.waypoint_server import serving

    built = _measured_build(emit, size)
    async with serving(built, folder) as served:
        spent = time.process_time()
        bench = _Bench(built, served, envoys)
        seconds = await bench.start([0], folder)
        spent = time.process_time() - spent
        await bench.quiet()
        emit(
            {
                "change": "first sync of an Envoy",
                "seconds": seconds,
                "server_cpu_ms": spent * 1e3,
                **bench.told_bytes(),
                **await envoys.order(told=True),
            }
        )
        emit(await _pods(bench, size, turns.pods))
        edits: list[tuple[str, Callable[[int, int], Sequence[Manifest]], dict[str, int], int]] = [
            (
                "route",
                lambda number, turn: [a_route(0, number, header=f"turn-{turn}")],
                {_ROUTES: 1},
                turns.edits,
            ),
            (
                "policy",
                lambda number, turn: [a_policy(0, number, path=f"/turn-{turn}/*")],
                {_ROUTES: 1},
                turns.edits,
            ),
            (
                "protocol of a port",
                lambda number, _: [a_service(0, number, protocol="grpc")],
                {_LISTENERS: 1},
                turns.services,
            ),
            (
                "service added",
                lambda number, _: [*service_of(size, 0, size.services + number)],
                {_CLUSTERS: 1, _ENDPOINTS: 1, _LISTENERS: 1, _ROUTES: 1},
                turns.services,
            ),
        ]
        for what, edit, expected, rounds in edits:
            # Not those with a port of bytes: what a change of them sends differs.
            numbers = [number for number in range(size.services) if number % 10][:rounds]
            emit(
                {"change": what}
                | await bench.changes(
                    [edit(number, turn + 1) for turn, number in enumerate(numbers)], expected
                )
            )
        emit({"change": "all of them", **await envoys.order(told=True)})
        assert not bench.rejections, bench.rejections


async def _pods(bench: "_Bench", size: Size, rounds: int) -> dict[str, Any]:
    """Take pods away and bring them back, one at a time."""
    seen: list[float] = []
    looks: list[int] = []
    changes = []
    for turn in range(rounds):
        number = turn // 2 % size.services
        changes.append([a_pod(0, number, 0, ready=turn % 2 == 1)])

    async def look(turn: int, started: float) -> None:
        found = await bench.envoys.order(
            waypoint=0,
            cluster=f"inbound-vip|80|http|{hostname_of(0, turn // 2 % size.services)}",
            endpoints=size.pods - 1 + turn % 2,
        )
        seen.append(found["at"] - started)
        looks.append(found["looks"])

    result = await bench.changes(changes, {_ENDPOINTS: 1}, look)
    return {
        "change": "pod",
        **result,
        "seen_p50_ms": median(seen) * 1e3,
        "seen_p99_ms": percentile(seen, 0.99) * 1e3,
        "looks_max": max(looks),
    }


async def _many(emit: Emit, size: Size, turns: Turns, clients: Clients, folder: Path) -> None:
    from tests.bench.waypoint_server import serving

    built = _measured_build(emit, size)
    async with serving(built, folder) as served:
        bench = _Bench(built, served, clients.real)
        before, spent = settled_resident(), time.process_time()
        synced = await clients.load.order(
            connect=served.port,
            root=str(served.certificate.root_file),
            waypoints=list(range(clients.envoys, size.waypoints)),
        )
        spent = time.process_time() - spent
        await bench.quiet()
        count = size.waypoints - clients.envoys
        emit(
            {
                "change": "first sync of all clients at once",
                "clients": count,
                "seconds": synced["seconds"],
                "server_cpu_ms_per_waypoint": spent / count * 1e3,
                "keys_made": served.issuer.issued,
                "mb_beyond": settled_resident() - before,
                **bench.told_bytes(),
            }
        )
        seconds = await bench.start(range(clients.envoys), folder)
        await bench.quiet()
        emit({"change": "first sync of the Envoys", "seconds": seconds})
        await _shared_changes(emit, bench, size, turns)
        assert not bench.rejections, bench.rejections


async def _shared_changes(emit: Emit, bench: "_Bench", size: Size, turns: Turns) -> None:
    """Change what concerns one waypoint, then what concerns all."""
    everybody = size.waypoints
    pods = [[a_pod(turn // 2 % everybody, 1, 0, ready=turn % 2 == 1)] for turn in range(turns.pods)]
    emit({"change": "pod"} | await bench.changes(pods, {_ENDPOINTS: 1}))
    formats = [
        [MeshConfig(access_log_file="/dev/stdout", access_log_format=f"{turn} %PROTOCOL%\n")]
        for turn in range(max(2, turns.services // 2))
    ]
    emit(
        {"change": "access log of the mesh"}
        | await bench.changes(formats, {_LISTENERS: everybody}, shared_by=everybody)
    )
    aliases = [
        [MeshConfig(access_log_file="/dev/stdout", trust_domain_aliases=(f"old-{turn}",))]
        for turn in range(max(2, turns.services // 2))
    ]
    emit(
        {"change": "trust domain aliases of the mesh"}
        | await bench.changes(aliases, {_ROUTES: everybody}, shared_by=everybody)
    )
    times, cpu = [], []
    for _ in range(3):
        bench.served.traffic.reset()
        spent, started = time.process_time(), time.monotonic()
        bench.served.issuer.trust_another()
        await bench.heard({_SECRETS: everybody})
        times.append(time.monotonic() - started)
        cpu.append((time.process_time() - spent) / everybody)
    emit(
        {
            "change": "trust bundle",
            "rounds": len(times),
            "seconds": median(times),
            "server_cpu_us_per_waypoint": median(cpu) * 1e6,
            **bench.told_bytes(),
        }
    )


class _Bench:
    """A server with its clients, and changes made to what it serves."""

    def __init__(self, built: "Built", served: "Served", envoys: LoadProcess) -> None:
        self.built = built
        self.served = served
        self.envoys = envoys

    async def start(self, waypoints: Iterable[int], folder: Path) -> float:
        """Start the Envoys of some waypoints; return the seconds until all were ready."""
        answer = await self.envoys.order(
            start=list(waypoints),
            port=self.served.port,
            root=str(self.served.certificate.root_file),
            folder=str(folder),
        )
        return float(answer["seconds"])

    @property
    def rejections(self) -> list[str]:
        """Return what clients refused."""
        return self.served.traffic.rejections

    def told_bytes(self) -> dict[str, Any]:
        """Return what was sent since the last reset."""
        traffic = self.served.traffic
        return {
            "bytes": dict(sorted(traffic.sent_bytes.items())),
            "resources": dict(sorted(traffic.sent_resources.items())),
        }

    async def heard(self, expected: Mapping[str, int]) -> None:
        """Wait until so many acknowledgements of each type have come since the last reset."""
        traffic = self.served.traffic
        async with asyncio.timeout(_LIMIT):
            while any(traffic.acknowledgements[kind] < expected[kind] for kind in expected):
                traffic.heard.clear()
                await traffic.heard.wait()

    async def quiet(self) -> None:
        """Wait until nothing has been sent or acknowledged for a while."""
        traffic = self.served.traffic
        async with asyncio.timeout(_LIMIT):
            before: tuple[int, int] | None = None
            while True:
                now = sum(traffic.sent_bytes.values()), sum(traffic.acknowledgements.values())
                if now == before:
                    return
                before = now
                await asyncio.sleep(10 * _PAUSE)

    async def changes(
        self,
        changes: Sequence[Sequence[Manifest | MeshConfig]],
        expected: Mapping[str, int],
        look: Callable[[int, float], Any] | None = None,
        *,
        shared_by: int = 1,
    ) -> dict[str, Any]:
        """Make one change after the other; return what they took and what was sent.

        ``expected`` are the acknowledgements by type that each leads to. ``look`` is awaited after
        them with the number of the change and when it began.
        """
        from tests.bench.waypoint_server import put

        traffic, graph = self.served.traffic, self.built.pipeline.graph
        commits, latencies, spent, calls, longest = [], [], [], [], []
        sent: dict[str, list[int]] = {}
        resources: dict[str, list[int]] = {}
        in_place = await self._in_place()
        for turn, manifests_of in enumerate(changes):
            await asyncio.sleep(_PAUSE)
            traffic.reset()
            called = _calls(graph)
            calls_before, cpu, started = graph.rule_calls, time.process_time(), time.monotonic()
            put(self.built, *manifests_of)
            commits.append(time.monotonic() - started)
            await self.heard(expected)
            latencies.append(traffic.last_acknowledgement - started)
            spent.append((time.process_time() - cpu) / shared_by)
            calls.append(graph.rule_calls - calls_before)
            ran = [each for each in graph.describe() if each.rule_calls > called[each.name]]
            longest.append(max((each.last_seconds, each.name) for each in ran))
            if look is not None:
                await look(turn, started)
            else:
                await asyncio.sleep(_PAUSE)
            for kind in traffic.sent_bytes:
                sent.setdefault(kind, []).append(traffic.sent_bytes[kind])
                resources.setdefault(kind, []).append(traffic.sent_resources[kind])
        in_place = await self._in_place() - in_place
        return {
            "rounds": len(changes),
            "commit_p50_ms": median(commits) * 1e3,
            "commit_p99_ms": percentile(commits, 0.99) * 1e3,
            "acknowledged_p50_ms": median(latencies) * 1e3,
            "acknowledged_p99_ms": percentile(latencies, 0.99) * 1e3,
            "server_cpu_us_per_waypoint": median(spent) * 1e6,
            "rule_calls": int(median(calls)),
            "slowest_rules": max(longest)[1],
            "slowest_rules_ms": max(longest)[0] * 1e3,
            "bytes_each": {kind: int(median(values)) for kind, values in sorted(sent.items())},
            "resources_each": {
                kind: int(median(values)) for kind, values in sorted(resources.items())
            },
            "listeners_updated_in_place": in_place,
        }

    async def _in_place(self) -> int:
        return int((await self.envoys.order(told=True))["in_place"])


def _calls(graph: "Graph") -> dict[str, int]:
    return {each.name: each.rule_calls for each in graph.describe()}


def _measured_build(emit: Emit, size: Size) -> "Built":
    """Build twice, the second time in another order, and say what it took; equal bytes each."""
    from tests.bench.waypoint_server import build, empty, fill

    made = list(manifests(size))
    empty()
    before = settled_resident()
    built = empty()
    cpu, started = time.process_time(), time.monotonic()
    fill(built, made)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    after = settled_resident()
    slowest = max(built.pipeline.graph.describe(), key=lambda each: each.last_seconds)
    shuffled = list(made)
    random.Random(6).shuffle(shuffled)
    again = build(shuffled, shuffle=6)
    resources = _resources(built, size)
    assert resources == _resources(again, size), "equal manifests, equal bytes"
    emit(
        {
            "change": "everything",
            "manifests": len(made),
            "seconds": seconds,
            "cpu_seconds": cpu,
            "rule_calls": built.pipeline.graph.rule_calls,
            "resident_mb": after,
            "mb_beyond": after - before,
            "slowest_rules": slowest.name,
            "slowest_rules_ms": slowest.last_seconds * 1e3,
            "largest_resource_bytes": max(len(body) for body in resources.values()),
            "resource_bytes": sum(len(body) for body in resources.values()),
            "regenerated_in_another_order": "identical",
        }
    )
    return built


def _resources(built: "Built", size: Size) -> dict[tuple[int, str, str], bytes]:
    from controlplane.model.names import Name
    from controlplane.snapshots.scope import WAYPOINT_TYPES, waypoint_resources

    return {
        (number, type_url, each.name): each.body
        for number in range(size.waypoints)
        for type_url in WAYPOINT_TYPES
        for each in built.catalog.table(
            waypoint_resources(Name(namespace_of(number), WAYPOINT), type_url)
        ).resources()
    }
