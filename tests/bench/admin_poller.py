"""Clients that poll the admin side; one order starts them, the next stops them and reports.

``{"port": N, "clients": N, "every": SECONDS}`` starts, ``{"stop": true}`` reports latencies by
path, ``{"once": PATH, "times": N, "port": N}`` asks one path again and again.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx

PATHS = (
    "/api/v1/workloads?limit=100",
    "/api/v1/workloads?limit=100&name=app-499",
    "/api/v1/services?limit=100",
    "/api/v1/policies?limit=100",
    "/api/v1/conditions?limit=100",
    "/api/v1/problems?limit=100",
    "/api/v1/waypoints?limit=100",
    "/api/v1/gateways?limit=100",
    "/api/v1/nodes?limit=100",
    "/api/v1/connections?limit=100",
    "/api/v1/commits?limit=100",
    "/debug/syncz",
)


async def _timed(client: httpx.AsyncClient, path: str) -> float:
    started = time.perf_counter()
    answer = await client.get(path)
    seconds = time.perf_counter() - started
    if answer.status_code != httpx.codes.OK:
        raise AssertionError(f"{path}: {answer.status_code} {answer.text[:200]}")
    return seconds


async def _poll(client: httpx.AsyncClient, first: int, every: float, found: Any) -> None:
    number = first
    while True:
        path = PATHS[number % len(PATHS)]
        found.setdefault(path, []).append(await _timed(client, path))
        number += 1
        await asyncio.sleep(every)


async def _order(order: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    if order.get("stop"):
        for task in state["tasks"]:
            task.cancel()
        ended = await asyncio.gather(*state["tasks"], return_exceptions=True)
        errors = [str(each) for each in ended if not isinstance(each, asyncio.CancelledError)]
        await state["client"].aclose()
        return {"seconds": state["found"], "errors": errors}
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{order['port']}", timeout=30)
    if "once" in order:
        async with client:
            return {"seconds": [await _timed(client, order["once"]) for _ in range(order["times"])]}
    found: dict[str, list[float]] = {}
    tasks = [
        asyncio.create_task(_poll(client, number, order["every"], found))
        for number in range(order["clients"])
    ]
    state.update(client=client, tasks=tasks, found=found)
    return {"clients": len(tasks)}


async def _main() -> None:
    state: dict[str, Any] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await _order(json.loads(line), state)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
