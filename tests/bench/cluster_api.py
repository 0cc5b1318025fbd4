"""An API server with a large mesh: a process of its own that makes objects when asked for them.

Orders: ``{"serve": {sizes}, "chain": file, "key": file}`` answers with the port.
``{"burst": n, "beats": bool}`` sends n events of pods as fast as they are taken: heartbeats, or a
change of readiness each. ``{"rate": n, "seconds": s}`` sends n changes of readiness a second, and
answers with the moment of each, by pod (seconds of the system-wide monotonic clock).
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import uvloop
from aiohttp import web

from tests.bench import cluster_objects as objects
from tests.bench.mesh import Sizes
from tests.bench.orders import Order, obey
from tests.support.kubernetes_objects import custom_definitions

_REVISION = 1_000
_AT_ONCE = 32
_TICK = 0.002


class ClusterApi:
    """Serves on loopback over TLS."""

    def __init__(self) -> None:
        self._sizes = Sizes(pods=0)
        self._revision = _REVISION
        self._ready: dict[int, bool] = {}
        self._watching: list[web.StreamResponse] = []
        self._is_watched = asyncio.Event()

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Serve, or send events."""
        if "serve" in order:
            return await self._serve(order)
        await self._is_watched.wait()
        if "burst" in order:
            return await self._burst(order["burst"], beats=order["beats"])
        return await self._pace(order["rate"], order["seconds"])

    async def _serve(self, order: Order) -> dict[str, Any]:
        self._sizes = Sizes(**order["serve"])
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(order["chain"], order["key"])
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return {"port": runner.addresses[0][1]}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if request.query.get("watch"):
            return await self._watch(request, plural)
        start = int(request.query.get("continue", "0"))
        count = int(request.query["limit"])
        items = list(islice(self._listed(plural, start), count + 1))
        metadata = {"resourceVersion": str(_REVISION)}
        if len(items) > count:
            metadata["continue"] = str(start + count)
        head = json.dumps({"kind": "List", "apiVersion": "v1", "metadata": metadata})
        body = head[:-1].encode() + b',"items":[' + b",".join(items[:count]) + b"]}"
        return web.Response(body=body, content_type="application/json")

    def _listed(self, plural: str, start: int) -> Iterator[bytes]:
        if plural == "pods":
            for number in range(start, self._sizes.pods):
                yield objects.pod(self._sizes, number, revision=_REVISION)
            return
        made: dict[str, Callable[[Sizes], Iterable[bytes]]] = {
            "namespaces": objects.namespaces,
            "nodes": objects.nodes,
            "services": objects.services,
            "authorizationpolicies": objects.policies,
            "customresourcedefinitions": lambda _: (
                json.dumps(each).encode() for each in custom_definitions()
            ),
        }
        if plural in made:
            yield from islice(made[plural](self._sizes), start, None)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if plural == "pods":
            self._watching.append(response)
            self._is_watched.set()
        await asyncio.Event().wait()
        return response

    async def _burst(self, count: int, *, beats: bool) -> dict[str, Any]:
        started = time.monotonic()
        for start in range(0, count, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, count))
            await self._send([each % self._sizes.pods for each in numbers], beats=beats)
        return {"began": started, "seconds": time.monotonic() - started}

    async def _pace(self, rate: int, seconds: float) -> dict[str, Any]:
        """Send so many a second, evenly; a late tick sends what it should have by then."""
        moments: dict[str, list[float]] = {}
        started, sent = time.monotonic(), 0
        while sent < rate * seconds:
            due = min(int((time.monotonic() - started) * rate), int(rate * seconds))
            numbers = [each % self._sizes.pods for each in range(sent, due)]
            if numbers:
                now = time.monotonic()
                await self._send(numbers, beats=False)
                for each in numbers:
                    moments.setdefault(objects.name_of(self._sizes, each), []).append(now)
                sent = due
            await asyncio.sleep(_TICK)
        return {"sent": sent, "seconds": time.monotonic() - started, "moments": moments}

    async def _send(self, numbers: list[int], *, beats: bool) -> None:
        lines = []
        for each in numbers:
            self._revision += 1
            if not beats:
                self._ready[each] = not self._ready.get(each, True)
            body = objects.pod(
                self._sizes,
                each,
                revision=self._revision,
                ready=self._ready.get(each, True),
                beat=self._revision % 1_000_000,
            )
            lines.append(b'{"type":"MODIFIED","object":' + body + b"}\n")
        text = b"".join(lines)
        for response in self._watching:
            await response.write(text)


if __name__ == "__main__":
    uvloop.run(obey(ClusterApi().carry_out))
