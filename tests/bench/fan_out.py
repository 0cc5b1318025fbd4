"""Benchmark ``fan_out``: one change to many clients over TLS, each with a connection of its own.

The clients are in other processes on the same machine, so their own cost is printed beside the
result: the same clients against a server that only broadcasts one ready message (``floor``).
Latency runs from the start of the transaction to the receipt by each client; CPU is that of the
serving process from the start of a change until the last client has acknowledged it.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.load_process import LoadProcess
from tests.bench.measure import median, percentile
from tests.bench.mesh import Sizes

_CLIENTS_PER_PROCESS = 1_000
_SIZES = Sizes(pods=200, services=20, policies=10, namespaces=10, nodes=10)
_PAUSE = 0.15
_LIMIT = 30.0


class Countdown:
    """Wakes who waits when a number of acknowledgements has come in."""

    def __init__(self) -> None:
        self._remaining = 0
        self._done = asyncio.Event()

    def expect(self, count: int) -> None:
        """Start over: ``count`` are to come."""
        self._remaining = count
        self._done.clear()

    def count(self) -> None:
        """Note that one came in."""
        self._remaining -= 1
        if self._remaining == 0:
            self._done.set()

    async def reached(self) -> None:
        """Wait until all have come in; TimeoutError when that takes too long."""
        async with asyncio.timeout(_LIMIT):
            await self._done.wait()


def run(emit: Callable[[dict[str, Any]], None], *, clients: int, rounds: int) -> None:
    """Measure ``clients`` clients over ``rounds`` changes and emit one result."""
    shares = [
        min(_CLIENTS_PER_PROCESS, clients - start)
        for start in range(0, clients, _CLIENTS_PER_PROCESS)
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        loads = [stack.enter_context(LoadProcess()) for _ in shares]
        floor_loads = [stack.enter_context(LoadProcess()) for _ in shares]
        result = {"bench": "fan_out", "clients": clients, "load_processes": len(shares)}
        result |= uvloop.run(_measured(loads, shares, rounds, folder))
        floor = uvloop.run(_floor(floor_loads, shares, rounds, folder))
        emit(result | {f"floor_{key}": value for key, value in floor.items()})


async def _measured(
    loads: Sequence[LoadProcess], shares: Sequence[int], rounds: int, folder: Path
) -> dict[str, Any]:
    from controlplane.clock import SystemClock
    from controlplane.snapshots.scope import ADDRESS_TYPE
    from controlplane.xds.observer import SilentObserver
    from controlplane.xds.server import Listener, XdsServer
    from controlplane.xds.settings import XdsSettings
    from controlplane.xds.tls import HotCertificate
    from tests.bench.build import build
    from tests.bench.measure import resident
    from tests.bench.mesh import a_pod
    from tests.bench.serving_certificate import make_serving_certificate

    countdown = Countdown()

    class Counting(SilentObserver):
        def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
            if type_url == ADDRESS_TYPE:
                countdown.count()

    built = build(_SIZES)
    pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
    settings = XdsSettings(new_streams_per_second=10_000, new_streams_at_once=10_000)
    server = XdsServer(built.catalog, settings, SystemClock(), observer=Counting())
    certificate = HotCertificate(pair.chain, pair.key)
    (port,) = await server.start([Listener(address="127.0.0.1:0", certificate=certificate)])
    before = resident()
    clients = sum(shares)
    countdown.expect(clients)
    connected = await connect(loads, shares, port, pair.root_file)
    await countdown.reached()

    def change(number: int) -> str:
        pod = a_pod(_SIZES, number % 100, ready=number // 100 % 2 == 1)
        with built.pipeline.graph.transaction():
            built.pipeline.inputs.pods.put(pod)
        return str(built.catalog.commit)

    try:
        result = await rounds_of(change, countdown, loads, clients, rounds)
        result["kb_per_client"] = (resident() - before) * 1e3 / clients
        result["connect_seconds"] = connected
        idle = time.process_time()
        await asyncio.sleep(1)
        result["idle_cpu_share"] = time.process_time() - idle
        for load in loads:
            await load.order(quit=True)
        return result
    finally:
        await server.stop(1)


async def _floor(
    loads: Sequence[LoadProcess], shares: Sequence[int], rounds: int, folder: Path
) -> dict[str, Any]:
    """Measure the same clients against the least a server can do with the same library."""
    import grpc
    import grpc.aio

    from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
    from controlplane.xds.response import own_body
    from controlplane.xds.server import SERVICE
    from tests.bench.serving_certificate import make_serving_certificate

    countdown = Countdown()
    message = b""
    waiting: list[asyncio.Future[bytes]] = []

    async def broadcast(_: object, context: Any) -> None:
        await context.read()
        await context.read()
        await context.write(own_body((), (), ADDRESS_TYPE, "0"))
        await context.write(own_body((), (), AUTHORIZATION_TYPE, "0.0"))
        await context.read()
        await context.read()
        countdown.count()
        while True:
            turn: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await context.write(await turn)
            await context.read()
            countdown.count()

    def change(number: int) -> str:
        nonlocal message, waiting
        nonce = str(number + 1)
        message = own_body((b"\x12\xac\x02" + bytes(300),), (), ADDRESS_TYPE, nonce)
        turns, waiting = waiting, []
        for turn in turns:
            if not turn.done():
                turn.set_result(message)
        return nonce

    pair = make_serving_certificate(folder, names=("127.0.0.1",), now=datetime.now(UTC))
    server = grpc.aio.server(
        options=[
            ("grpc.server.max_pending_requests", 100_000),
            ("grpc.server.max_pending_requests_hard_limit", 100_000),
            ("grpc.http2.bdp_probe", 0),
        ]
    )
    handler = grpc.stream_stream_rpc_method_handler(broadcast)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler}),)
    )
    credentials = grpc.ssl_server_credentials([(pair.key, pair.chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        clients = sum(shares)
        countdown.expect(clients)
        await connect(loads, shares, port, pair.root_file)
        await countdown.reached()
        result = await rounds_of(change, countdown, loads, clients, rounds)
        for load in loads:
            await load.order(quit=True)
        return result
    finally:
        await server.stop(0)


async def connect(
    loads: Sequence[LoadProcess], shares: Sequence[int], port: int, root: Path
) -> float:
    """Have each process open its share of connections; return the seconds that took."""
    started = time.monotonic()
    orders: list[Awaitable[dict[str, Any]]] = [
        load.order(connect=port, root=str(root), clients=share, resume=False)
        for load, share in zip(loads, shares, strict=True)
    ]
    await asyncio.gather(*orders)
    return time.monotonic() - started


async def rounds_of(
    change: Callable[[int], str],
    countdown: Countdown,
    loads: Sequence[LoadProcess],
    clients: int,
    rounds: int,
) -> dict[str, Any]:
    """Return medians over rounds: one change, everybody acknowledges, a pause."""
    for load in loads:
        await load.order(report=True)
    starts: dict[str, float] = {}
    cpu = []
    for number in range(rounds):
        await asyncio.sleep(_PAUSE)
        countdown.expect(clients)
        spent, started = time.process_time(), time.monotonic()
        starts[change(number)] = started
        await countdown.reached()
        cpu.append((time.process_time() - spent) / clients * 1e6)
    receipts: dict[str, list[float]] = {}
    for load in loads:
        for nonce, times in (await load.order(report=True))["receipts"].items():
            receipts.setdefault(nonce, []).extend(times)
    latencies = [[at - began for at in receipts[nonce]] for nonce, began in starts.items()]
    assert all(len(each) == clients for each in latencies), "everyone received everything"
    return {
        "rounds": rounds,
        "p50_ms": median([percentile(each, 0.5) for each in latencies]) * 1e3,
        "p99_ms": median([percentile(each, 0.99) for each in latencies]) * 1e3,
        "worst_p99_ms": max(percentile(each, 0.99) for each in latencies) * 1e3,
        "server_cpu_us_per_message": median(cpu),
    }
