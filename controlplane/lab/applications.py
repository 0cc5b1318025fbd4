"""The applications of the lab: pods of the manifests come in, HTTP services on loopback go out.

One process serves them all. Each pod's applications have an address of their own, by default under
127.1, so that who answers can be told from where the request went. A bookshop is known by name;
whoever else is asked says who they are and what they were asked. Everybody answers a path that
begins with ``/status/403`` with that status, and one with ``/delay/0.5`` after so many seconds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from controlplane.lab.plain import Address
from controlplane.lab.ztunnel.workload import Workload

Ask = Callable[[Workload, str], Awaitable[tuple[int, Any]]]
"""Sends a GET in the name of a workload: its URL in, status and JSON out."""

_CALLS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "productpage": (
        ("details", "http://details:9080/details/0"),
        ("reviews", "http://reviews:9080/reviews/0"),
    ),
    "reviews": (("ratings", "http://ratings:9080/ratings/0"),),
}
"""Whom each service of the bookshop asks before it answers."""
_WITHOUT_RATINGS: Final = "v1"
_STATUS: Final = re.compile(r"/status/([2-5]\d\d)(?=/|$)")
_DELAY: Final = re.compile(r"/delay/(\d{1,2}(?:\.\d{1,3})?)(?=/|$)")
_TEXTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "details": {"author": "William Shakespeare", "pages": 200, "year": 1595},
    "ratings": {"ratings": {"Reviewer1": 5, "Reviewer2": 4}},
}


class HttpApplications:
    """An HTTP service on every port that a Service leads to; use it as ``async with``.

    Args:
        ask: how one of them calls another.
        under: the first two numbers of the addresses they listen on.
    """

    def __init__(self, ask: Ask, *, under: str = "127.1") -> None:
        self.requests: list[tuple[str, str, str]] = []
        self._ask = ask
        self._under = under
        self._workloads: dict[Address, Workload] = {}
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    def ports(self, workload: Workload) -> tuple[int, ...]:
        """Return the ports of the pod that Services lead to; none for pods of the mesh itself."""
        if workload.namespace == "istio-system":
            return ()
        found = {target for _, ports in workload.services for _, target in ports if target}
        return tuple(sorted(found - {15008, 15020, 15021}))

    async def run(self, workload: Workload) -> None:
        """Have the applications of a pod listen. Raises OSError when they cannot."""
        for port in self.ports(workload):
            address = self.address(workload, port)
            if address is not None and address not in self._workloads:
                await web.TCPSite(self._runner, *address, reuse_address=True).start()
            if address is not None:
                self._workloads[address] = workload

    def address(self, workload: Workload, port: int) -> Address | None:
        """Return where the application behind ``port`` listens, None where there is none."""
        if port not in self.ports(workload):
            return None
        last = str(workload.addresses[0]).split(".", 2)[2]
        return f"{self._under}.{last}", port

    async def _answer(self, request: web.Request) -> web.Response:
        transport = request.transport
        place: Address = ("", 0) if transport is None else transport.get_extra_info("sockname")[:2]
        workload = self._workloads.get(place)
        if workload is None:
            return web.json_response({"error": "nobody lives here"}, status=404)
        self.requests.append((workload.name, request.method, request.path_qs))
        del self.requests[:-10_000]
        if delay := _DELAY.match(request.path):
            await asyncio.sleep(float(delay[1]))
        status = _STATUS.match(request.path)
        name = workload.canonical_name
        answer: dict[str, Any] = {
            "service": name,
            "version": workload.canonical_revision,
            "pod": workload.name,
            "method": request.method,
            "path": request.path_qs,
            "headers": {
                key.lower(): ",".join(request.headers.getall(key)) for key in request.headers
            },
            **_TEXTS.get(name, {}),
        }
        if name != "reviews" or workload.canonical_revision != _WITHOUT_RATINGS:
            for key, url in _CALLS.get(name, ()):
                code, found = await self._ask(workload, url)
                answer[key] = found if code == web.HTTPOk.status_code else {"status": code}
        return web.json_response(answer, status=int(status[1]) if status else 200)
