"""Real Envoys of waypoints: a process of its own, orders in on stdin, answers out on stdout.

It is one of its own because a process that speaks gRPC must not start others. Orders:

``{"start": [n, ...], "port": port, "root": file, "folder": folder}`` answers when each is ready.
``{"waypoint": n, "cluster": name, "endpoints": count}`` answers when that Envoy shows so many
healthy endpoints: when that was (seconds of the system-wide monotonic clock) and after how many
looks. ``{"told": true}`` answers with memory, processor time and listeners updated in place.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from controlplane.lab.envoy import Envoy, EnvoyOptions
from controlplane.lab.waypoint_proxy import WaypointProxy
from controlplane.lab.ztunnel.client import Target
from controlplane.model.resident import Resident
from tests.bench.orders import Order, obey
from tests.bench.waypoint_mesh import WAYPOINT, proxy_address, proxy_name

_PATIENCE = 30.0
_AS_DEPLOYED = ("--drain-time-s", "45", "--drain-strategy", "immediate")
"""As in a waypoint's pod: how long what a listener was before stays."""
_PAUSE = 0.001
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Envoys:
    """All Envoys of this process."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._running: dict[int, Envoy] = {}

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Start some, look at one, or tell of all."""
        if "start" in order:
            started = time.monotonic()
            found = await asyncio.gather(*(self._start(order, each) for each in order["start"]))
            self._running = dict(zip(order["start"], found, strict=True))
            return {"seconds": time.monotonic() - started}
        if "told" in order:
            return {
                "in_place": sum([await _in_place(each) for each in self._running.values()]),
                **_used(next(iter(self._running.values()))),
            }
        return await self._look(order["waypoint"], order["cluster"], order["endpoints"])

    async def _start(self, order: Order, waypoint: int) -> Envoy:
        name = proxy_name(waypoint)
        directory = Path(order["folder"]) / f"envoy-{waypoint}"
        directory.mkdir()
        proxy = WaypointProxy(
            Resident(
                uid="",
                namespace=name.namespace,
                name=name.name,
                node="node-0",
                service_account=WAYPOINT,
                phase="Running",
                gateway=WAYPOINT,
            ),
            address=proxy_address(waypoint),
            target=Target(
                address=f"127.0.0.1:{order['port']}",
                root_certificates=Path(order["root"]).read_bytes(),  # noqa: ASYNC240 - a small one
                server_name="localhost",
            ),
            token=lambda: str(name),
            directory=directory,
            options=EnvoyOptions(patience=_PATIENCE, arguments=_AS_DEPLOYED),
        )
        await self._stack.enter_async_context(proxy)
        return proxy.envoy

    async def _look(self, waypoint: int, cluster: str, endpoints: int) -> dict[str, Any]:
        path = (
            "/config_dump?include_eds&resource=dynamic_endpoint_configs"
            f"&name_regex={re.escape(cluster).replace('|', '%7C')}"
        )
        looks, until = 0, time.monotonic() + _PATIENCE
        while True:
            looks += 1
            dump = json.loads(await self._running[waypoint].admin(path))
            found = sum(_healthy(each["endpoint_config"]) for each in dump.get("configs", ()))
            at = time.monotonic()
            if found == endpoints:
                return {"at": at, "looks": looks}
            if at > until:
                raise AssertionError(f"{cluster} has {found} endpoints, not {endpoints}")
            await asyncio.sleep(_PAUSE)


def _healthy(assignment: Mapping[str, Any]) -> int:
    """Return how many endpoints are not known to be ill."""
    return sum(
        each.get("health_status", "UNKNOWN") in {"UNKNOWN", "HEALTHY"}
        for locality in assignment.get("endpoints", ())
        for each in locality.get("lb_endpoints", ())
    )


async def _in_place(envoy: Envoy) -> int:
    """Return how often filter chains of a listener were changed and the rest kept."""
    return sum((await envoy.stats(r"^listener_manager\.listener_in_place_updated$")).values())


def _used(envoy: Envoy) -> dict[str, float]:
    """Return the memory and the processor time of an Envoy."""
    process = Path("/proc") / str(envoy.pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return {
        "envoy_mb": int((process / "statm").read_text().split()[1]) * _PAGE / 1e6,
        "envoy_cpu_seconds": (int(fields[11]) + int(fields[12])) / _TICKS,
    }


async def _obey() -> None:
    async with AsyncExitStack() as stack:
        await obey(Envoys(stack).carry_out)


if __name__ == "__main__":
    uvloop.run(_obey())
