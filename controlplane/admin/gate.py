"""The gate in front of the admin application: every request passes it, or is answered by it.

It says who is asking before any route runs, so that a route somebody forgets to protect is closed
all the same. Only paths whose route says ``open_to_all`` are let through unasked.
"""

from collections.abc import Collection
from math import ceil
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.admin.access import AdminAccess
from controlplane.admin.errors import RefusedError
from controlplane.admin.limits import AdminLimits, PeerBuckets
from controlplane.admin.problem_detail import problem_response
from controlplane.clock import Clock

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_UNLIMITED: Final = frozenset({"/healthz", "/ready"})
_HEADERS: Final = {
    "cache-control": "no-cache, private",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """An ASGI middleware. What it lets through has ``scope["state"]["viewer"]``.

    Open paths have ``is_near`` instead: whether the request would have been let in without a token.
    """

    def __init__(
        self,
        application: ASGIApp,
        *,
        access: AdminAccess,
        limits: AdminLimits,
        clock: Clock,
        open_paths: Collection[str],
    ) -> None:
        self._application = application
        self._access = access
        self._limits = limits
        self._buckets = PeerBuckets(limits, clock)
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            # Nothing here speaks anything else.
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_headers(send)
        try:
            await self._admit(scope)
        except RefusedError as refusal:
            response = problem_response(refusal.status, str(refusal), headers=refusal.headers)
            await response(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._application(scope, self._bounded(receive), send)

    async def _admit(self, scope: Scope) -> None:
        peer, path, method = _peer(scope), scope["path"], scope["method"]
        if path not in _UNLIMITED:
            wait = self._buckets.seconds_until_allowed(peer)
            if wait:
                raise RefusedError(
                    429,
                    "This address asks too often: wait a moment.",
                    {"retry-after": str(ceil(wait))},
                )
        headers = _headers(scope)
        if path in self._open_paths and method in READING:
            scope.setdefault("state", {})["is_near"] = self._access.is_near(peer, headers)
            return
        viewer = await self._access.viewer(peer, headers)
        self._check_body(method, headers)
        scope.setdefault("state", {})["viewer"] = viewer

    def _check_body(self, method: str, headers: dict[str, list[str]]) -> None:
        """Refuse bodies that are too long, and forms that a web page may have sent by itself."""
        length = headers.get("content-length", ["0"])[0]
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            raise RefusedError(413, f"A request holds {self._limits.body_bytes} bytes at most.")
        if method in READING:
            return
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(415, "Send the body with 'Content-Type: application/json'.")

    def _bounded(self, receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limits.body_bytes:
                # This one passes through whoever reads bodies; others are taken for bad JSON.
                raise HTTPException(
                    413, f"A request holds {self._limits.body_bytes} bytes at most."
                )
            return message

        return bounded


def _peer(scope: Scope) -> str:
    """Return the address the connection comes from; never what a header says."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _without_body(send: Send) -> Send:
    """End an answer after its headers, also one that would go on for ever."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return sending


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
