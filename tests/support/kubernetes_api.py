"""A double of the API server on loopback: what a control plane asks of one, over real HTTP.

Lists in pages and at a version, watches with bookmarks, 410 after compaction, updates that fail
when stale, server-side apply, JSON and merge patches, the status subresource, TokenReview,
discovery, and objects that go when their owners are gone. Tests look at ``asked``, make it refuse,
fall silent, stop and start again.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.support import kubernetes_writes as writes
from tests.support.kubernetes_access import Asked, Grant
from tests.support.kubernetes_answers import (
    TYPED,
    Place,
    RefusedError,
    answer,
    answer_of,
    api_version,
    body_of,
    bookmark,
    event,
    events,
    forbidden,
    require_fresh,
    typed,
)
from tests.support.kubernetes_garbage import collect_for_ever
from tests.support.kubernetes_objects import Json, KubernetesObjects, encoded, selects

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class KubernetesApi:
    """``async with`` starts and ends it. ``token`` is asked for where it is set.

    ``asked`` are the requests, ``checked`` what an authoriser is asked about them: an apply that
    makes an object is a patch and a create. ``grants`` are all that is allowed where they are set,
    ``denied`` are pairs of verb and resource that are not; ``user`` is named to whom it is not
    allowed. ``reviews`` are the statuses of TokenReviews by token. While ``is_silent`` watches stay
    open and say nothing. Bookmarks come every ``bookmark_seconds``, if it is set; real API servers
    send them about once a minute. ``collects`` says whether objects go when their owners are gone.
    """

    objects: KubernetesObjects = field(default_factory=KubernetesObjects)
    tls: ssl.SSLContext | None = None
    token: str = ""
    user: str = "system:serviceaccount:istio-system:istiod"
    grants: Collection[Grant] | None = None
    denied: set[tuple[str, str]] = field(default_factory=set)
    reviews: dict[str, Json] = field(default_factory=dict)
    is_silent: bool = False
    bookmark_seconds: float = 0.0
    collects: bool = True
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    checked: list[Asked] = field(default_factory=list)
    faults: dict[tuple[str, str], deque[int]] = field(default_factory=dict)
    watches: int = 0
    _runner: web.AppRunner | None = None
    _listening: socket.socket | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _pages: dict[str, tuple[int, list[Json]]] = field(default_factory=dict)
    _bookmarks: int = 0
    _opened: int = 0
    _muted: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of before if it ran before."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listening = listening
        await web.SockSite(self._runner, listening, ssl_context=self.tls).start()
        self.port = listening.getsockname()[1]
        if self.collects:
            self._tasks.append(asyncio.create_task(collect_for_ever(self.objects)))
        if self.bookmark_seconds:
            self._tasks.append(asyncio.create_task(self._bookmark_for_ever()))

    async def stop(self) -> None:
        """Break every connection and listen no more; the objects stay."""
        if self._runner is None:
            return
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A connection that was just accepted takes some turns of the loop to be made, and would be
        # lost track of if the server were closed by then: accept no more, wait, and close.
        loop = asyncio.get_running_loop()
        if self._listening is not None:
            loop.remove_reader(self._listening.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        self.break_connections()
        await self._runner.cleanup()
        self._runner = None

    def break_connections(self) -> None:
        _abort(self._runner.server if self._runner else None)

    def mute_open_watches(self) -> None:
        """Let every watch that is open now stay open and never say anything again."""
        self._muted = self._opened

    def fail(self, verb: str, resource: str, *statuses: int) -> None:
        """Answer the next requests of ``verb`` on ``resource`` with these statuses."""
        self.faults.setdefault((verb, resource), deque()).extend(statuses)

    def expire_pages(self) -> None:
        self._pages.clear()

    def bookmark(self) -> None:
        """Send every watch the current revision."""
        self._bookmarks += 1
        self.objects.wake()

    async def _bookmark_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.bookmark_seconds)
            self.bookmark()

    def count(self, verb: str, resource: str) -> int:
        return sum((each.verb, each.resource) == (verb, resource) for each in self.asked)

    async def until(self, holds: Any) -> None:
        """Wait until ``holds()``, looking again after every write and request."""
        while not holds():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.objects.turn.wait(), 0.01)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except RefusedError as error:
            return answer(error.document, error.document["code"], error.headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self.token and (scheme.lower(), token) != ("bearer", self.token):
            raise RefusedError(401, "Unauthorized")
        parts = [part for part in request.path.split("/") if part]
        found = self._discovered(parts)
        if found is not None:
            return answer(found)
        if parts[-1] == "tokenreviews":
            return await self._review(request)
        place = self._place(parts)
        parameters = dict(request.query)
        verb = _VERBS.get(request.method) or _reading_verb(place, parameters)
        self._note(
            Asked(verb, place.resource.group, place.plural, place.namespace, place.name, parameters)
        )
        if verb == "watch":
            return await self._watch(request, place, parameters)
        if verb == "list":
            return answer_of(self._list(place, parameters))
        body = await request.read()
        return self._write_or_get(request, place, parameters, body)

    def _note(self, asked: Asked) -> None:
        self.asked.append(asked)
        self._check(asked)
        faults = self.faults.get((asked.verb, asked.resource))
        if faults:
            raise RefusedError(faults.popleft())

    def _check(self, asked: Asked) -> None:
        self.checked.append(asked)
        is_denied = (asked.verb, asked.resource) in self.denied
        if is_denied or (
            self.grants is not None and not any(each.allows(asked) for each in self.grants)
        ):
            raise forbidden(asked, self.user)

    def _place(self, parts: list[str]) -> Place:
        group, version, rest = (
            ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        )
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
            namespace, rest = rest[1], rest[2:]
        resource = self.objects.resources.get((group, rest[0])) if rest else None
        if resource is None or version not in resource.versions:
            raise RefusedError(404, "the server could not find the requested resource")
        name, subresource = (*rest[1:], "", "")[:2]
        return Place(resource, version, namespace, name, subresource)

    def _discovered(self, parts: list[str]) -> Json | None:
        resources = self.objects.resources.values()
        match parts:
            case ["readyz" | "livez" | "healthz"]:
                return {}
            case ["version"]:
                return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
            case ["apis"]:
                groups = {each.group: each.versions for each in resources if each.group}
                return {
                    "kind": "APIGroupList",
                    "groups": [_group(*each) for each in groups.items()],
                }
            case ["api", version]:
                group = ""
            case ["apis", group, version]:
                pass
            case _:
                return None
        found = [each for each in resources if each.group == group and version in each.versions]
        if not found:
            raise RefusedError(404)
        return {
            "kind": "APIResourceList",
            "groupVersion": f"{group}/{version}".lstrip("/"),
            "resources": [
                {"name": each.plural, "kind": each.kind, "namespaced": each.namespaced}
                for each in found
            ],
        }

    async def _review(self, request: web.Request) -> web.Response:
        body = body_of(await request.read())
        self._note(Asked("create", "authentication.k8s.io", "tokenreviews", "", "", {}))
        status = self.reviews.get(body["spec"]["token"], {"authenticated": False, "error": "no"})
        return answer({**body, "status": status}, 201)

    def _list(self, place: Place, parameters: Json) -> bytes:
        limit = int(parameters.get("limit") or "0")
        if parameters.get("continue"):
            if parameters["continue"] not in self._pages:
                raise RefusedError(410, "the list is too old to go on with")
            revision, items = self._pages[parameters["continue"]]
        else:
            revision, items = self._listed(place, parameters)
        metadata: Json = {"resourceVersion": str(revision)}
        if limit and len(items) > limit:
            metadata["continue"] = f"{revision}-{len(self._pages)}"
            if "fieldSelector" not in parameters and "labelSelector" not in parameters:
                metadata["remainingItemCount"] = len(items) - limit
            self._pages[metadata["continue"]] = (revision, items[limit:])
            items = items[:limit]
        shown = ({k: v for k, v in each.items() if k not in TYPED} for each in items)
        head = {"kind": f"{place.resource.kind}List", "apiVersion": api_version(place)}
        return encoded({**head, "metadata": metadata, "items": list(shown)})

    def _listed(self, place: Place, parameters: Json) -> tuple[int, list[Json]]:
        """Return the version a list is of, and what is in it."""
        passes = selects(parameters)
        held = self.objects.held[place.resource.plural]
        revision = self.objects.revision
        wanted = int(parameters.get("resourceVersion") or "0")
        if wanted > revision:
            raise RefusedError(504, "Too large resource version", cause="ResourceVersionTooLarge")
        if wanted and parameters.get("resourceVersionMatch") == "Exact":
            if wanted < self.objects.compacted:
                raise RefusedError(410, "the version was compacted")
            revision, held = wanted, self.objects.at(wanted, place.resource.plural)
        return revision, [
            document
            for (namespace, _), document in sorted(held.items())
            if place.namespace in ("", namespace) and passes(document)
        ]

    async def _watch(
        self, request: web.Request, place: Place, parameters: Json
    ) -> web.StreamResponse:
        if int(parameters.get("resourceVersion") or "0") > self.objects.revision:
            raise RefusedError(504, "Too large resource version", cause="ResourceVersionTooLarge")
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        seconds = float(parameters.get("timeoutSeconds", "3600"))
        self.watches += 1
        try:
            await response.prepare(request)
            async with asyncio.timeout(seconds):
                async for line in self._lines(place, parameters):
                    await response.write(line)
        except TimeoutError:
            pass
        except ConnectionError:
            return response
        finally:
            self.watches -= 1
        await response.write_eof()
        return response

    async def _lines(self, place: Place, parameters: Json) -> AsyncIterator[bytes]:
        passes = selects(parameters)
        marks = self._bookmarks
        self._opened += 1
        number = self._opened
        revision = int(parameters.get("resourceVersion") or "0")
        if not revision:
            # A watch from no version starts with what there is.
            revision, items = self._listed(place, parameters)
            for each in items:
                yield event("ADDED", typed(place, each))
        while True:
            turn = self.objects.turn
            if revision < self.objects.compacted:
                gone = RefusedError(410, "too old resource version").document
                yield event("ERROR", gone)
                return
            if not self.is_silent and number > self._muted:
                lines = self._since(revision, place, passes)
                revision = self.objects.revision
                if marks != self._bookmarks and parameters.get("allowWatchBookmarks") == "true":
                    lines.append(bookmark(place, revision))
                marks = self._bookmarks
                if lines:
                    yield b"".join(lines)
            if turn is self.objects.turn:
                await turn.wait()

    def _since(self, revision: int, place: Place, passes: Any) -> list[bytes]:
        return [
            line
            for each in self.objects.since(revision, place.resource.plural)
            if place.namespace in ("", each.key[0])
            for line in events(each, passes, place)
        ]

    def _write_or_get(
        self, request: web.Request, place: Place, parameters: Json, body: bytes
    ) -> web.Response:
        plural, kind = place.resource.plural, request.content_type
        live = self.objects.get(plural, place.key) if place.name else None
        if request.method == "POST":
            made = writes.create(self.objects, place, parameters, body_of(body))
            return answer(typed(place, made), 201)
        if request.method == "PATCH" and kind == writes.APPLY:
            if live is None and not place.subresource:
                self._check(
                    Asked("create", place.resource.group, plural, place.namespace, place.name, {})
                )
            found = writes.apply_patch(self.objects, place, parameters, live, body_of(body))
            return answer(typed(place, found), 201 if live is None else 200)
        if live is None:
            raise RefusedError(404, f"{plural} {place.name!r} not found")
        match request.method:
            case "GET":
                found = live
            case "PUT":
                wanted = body_of(body)
                require_fresh(live, wanted)
                found = writes.update(self.objects, place, parameters, live, wanted)
            case "DELETE":
                found = writes.delete(self.objects, place, live, body)
            case _:
                found = writes.patch(self.objects, place, parameters, live, kind, body)
        return answer(typed(place, found))


def _abort(server: web.Server | None) -> None:
    for each in list(server.connections if server else ()):
        if each.transport is not None:
            each.transport.abort()


def _reading_verb(place: Place, parameters: Json) -> str:
    if place.name:
        return "get"
    return "watch" if parameters.get("watch") in ("true", "1") else "list"


def _group(name: str, versions: tuple[str, ...]) -> Json:
    return {"name": name, "versions": [{"version": each} for each in versions]}
