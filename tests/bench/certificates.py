"""Benchmark ``certificates``: how fast they are issued, to a herd too, and what refusing costs.

Clients are in another process, and so is the TokenReview API. CPU is that of the whole serving
process: the service, TLS, reviews, the log and the ledger.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.load_process import LoadProcess

Emit = Callable[[dict[str, Any]], None]

_CLIENTS = "tests.bench.certificate_load"
_REVIEWS = "tests.bench.review_api"
_IN_FLIGHT = 32
_PROXIES = 320
_UNLIMITED = 1e6
_AT_ONCE = 16
_REVIEWS_PER_SECOND = 80


def rate(emit: Emit, *, seconds: float) -> None:
    """Measure certificates per second with 32 requests in flight, and emit one result."""
    _run(lambda load, reviews, folder: _rate(load, reviews, folder, seconds, emit))


def burst(emit: Emit, *, nodes: int) -> None:
    """Measure node proxies that arrive at once, and emit one result.

    The TokenReview API takes 80 reviews a second.
    """
    _run(lambda load, reviews, folder: _burst(load, reviews, folder, nodes, emit))


def hostile(emit: Emit, *, times: int) -> None:
    """Measure what each kind of hostile request costs, and emit one result a kind."""
    _run(lambda load, reviews, folder: _hostile(load, reviews, folder, times, emit))


def _run(measured: Callable[[LoadProcess, LoadProcess, Path], Any]) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load, reviews = (
            stack.enter_context(LoadProcess(module)) for module in (_CLIENTS, _REVIEWS)
        )
        uvloop.run(measured(load, reviews, folder))


async def _rate(
    load: LoadProcess, reviews: LoadProcess, folder: Path, seconds: float, emit: Emit
) -> None:
    from tests.bench.certificate_service import served

    port = (await reviews.order(serve=_UNLIMITED))["port"]
    async with served(folder, reviews_port=port, nodes=_PROXIES) as service:
        order = {"ask": service.port, "root": str(service.root_file), "connections": _IN_FLIGHT}
        await load.order(prepare=_PROXIES)
        await load.order(**order, seconds=min(2.0, seconds))
        spent = time.process_time()
        result = await load.order(**order, seconds=seconds)
        spent = time.process_time() - spent
        status = service.ledger.status
    emit(
        {
            "bench": "certificates/rate",
            "in_flight": _IN_FLIGHT,
            **result,
            "server_cpu_us": spent / result["certificates"] * 1e6,
            "ledger_rows_waiting": status.queued,
            "ledger_rows_lost": status.lost,
        }
    )


async def _burst(
    load: LoadProcess,
    reviews: LoadProcess,
    folder: Path,
    nodes: int,
    emit: Emit,
) -> None:
    from tests.bench.certificate_service import served
    from tests.bench.measure import settled_resident

    port = (await reviews.order(serve=_REVIEWS_PER_SECOND))["port"]
    async with served(folder, reviews_port=port, nodes=nodes) as service:
        await load.order(prepare=nodes)
        before = settled_resident()
        spent = time.process_time()
        result = await load.order(arrive=service.port, root=str(service.root_file))
        spent = time.process_time() - spent
        reviewed = await reviews.order(report=True)
        grown = settled_resident() - before
    status = service.ledger.status
    emit(
        {
            "bench": "certificates/burst",
            "nodes": nodes,
            **result,
            "reviews": reviewed["made"],
            "server_cpu_seconds": spent,
            "extra_mb": grown,
            "ledger_rows": status.written,
            "ledger_rows_lost": status.lost,
        }
    )


async def _hostile(
    load: LoadProcess, reviews: LoadProcess, folder: Path, times: int, emit: Emit
) -> None:
    from controlplane.ca.limits import RateLimits
    from tests.bench.certificate_service import served
    from tests.bench.hostile import hostile_requests

    port = (await reviews.order(serve=_UNLIMITED))["port"]
    unlimited = RateLimits(rate_per_caller=1e6, burst_per_caller=10**6, rate=1e6, burst=10**6)
    async with served(folder, reviews_port=port, nodes=1, limits=unlimited) as service:
        for request in hostile_requests():
            ends: Counter[str] = Counter()

            async def answer(number: int, request: Any = request, ends: Any = ends) -> None:
                headers = {"authorization": f"Bearer {request.token(number)}"}
                answered = await service.requests.answer(request.message, headers, "")
                ends["OK" if isinstance(answered, bytes) else answered.reason_code] += 1

            inside, over_tls = time.process_time(), 0.0
            for start in range(0, times, _AT_ONCE):
                await asyncio.gather(*(answer(start + turn) for turn in range(_AT_ONCE)))
            inside = time.process_time() - inside
            over_tls = time.process_time()
            sent = await load.order(
                send=request.name, port=service.port, root=str(service.root_file), times=times
            )
            over_tls = time.process_time() - over_tls
            emit(
                {
                    "bench": "certificates/hostile",
                    "request": request.name,
                    "bytes": len(request.message),
                    "reasons": dict(ends),
                    "ends": sent["ends"],
                    "cpu_ms": inside / times * 1e3,
                    "cpu_ms_over_tls": over_tls / times * 1e3,
                }
            )
