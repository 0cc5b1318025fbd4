"""A double of the API server on loopback: what a control plane asks of one, over real HTTP.

Lists in pages, watches with bookmarks, 410 after compaction, updates that fail when stale,
server-side apply, JSON and merge patches, the status subresource, TokenReview and discovery.
Tests look at ``asked``, make it refuse, fall silent, stop and start again.
"""

import asyncio
import contextlib
import json
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aiohttp import web

from tests.support.kubernetes_fields import (
    FieldConflictError,
    PatchError,
    apply,
    json_patched,
    merge_patched,
    updated,
)
from tests.support.kubernetes_objects import (
    Happening,
    Json,
    Key,
    KubernetesObjects,
    Resource,
    encoded,
    selects,
)

_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
            409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests",
            500: "InternalError", 504: "Timeout"}  # fmt: skip
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Asked(NamedTuple):
    """One request: ``resource`` may have a subresource, ``secrets`` or ``pods/status``."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    parameters: Mapping[str, str]


class _Place(NamedTuple):
    resource: Resource
    version: str
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return self.namespace, self.name


class _RefusedError(Exception):
    def __init__(
        self, status: int, message: str = "", *, reason: str = "", cause: str = ""
    ) -> None:
        super().__init__(message)
        self.document = {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "code": status,
            "reason": reason or _REASONS.get(status, ""),
            "message": message,
            "details": {"causes": [{"reason": cause}] if cause else []},
        }


@dataclass
class KubernetesApi:
    """``async with`` starts and ends it. ``token`` is asked for where it is set.

    ``denied`` are pairs of verb and resource that are forbidden. ``reviews`` are the statuses of
    TokenReviews by token. While ``is_silent`` watches stay open and say nothing.
    """

    objects: KubernetesObjects = field(default_factory=KubernetesObjects)
    tls: ssl.SSLContext | None = None
    token: str = ""
    denied: set[tuple[str, str]] = field(default_factory=set)
    reviews: dict[str, Json] = field(default_factory=dict)
    is_silent: bool = False
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    faults: dict[tuple[str, str], deque[int]] = field(default_factory=dict)
    watches: int = 0
    _runner: web.AppRunner | None = None
    _listening: socket.socket | None = None
    _pages: dict[str, tuple[int, list[Json]]] = field(default_factory=dict)
    _bookmarks: int = 0

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

    async def stop(self) -> None:
        """Break every connection and listen no more; the objects stay."""
        if self._runner is None:
            return
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

    def fail(self, verb: str, resource: str, *statuses: int) -> None:
        """Answer the next requests of ``verb`` on ``resource`` with these statuses."""
        self.faults.setdefault((verb, resource), deque()).extend(statuses)

    def expire_pages(self) -> None:
        self._pages.clear()

    def bookmark(self) -> None:
        """Send every watch the current revision."""
        self._bookmarks += 1
        self.objects.wake()

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
        except _RefusedError as error:
            return _json(error.document, error.document["code"])

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self.token and (scheme.lower(), token) != ("bearer", self.token):
            raise _RefusedError(401)
        parts = [part for part in request.path.split("/") if part]
        found = self._discovered(parts)
        if found is not None:
            return _json(found)
        if parts[-1] == "tokenreviews":
            return await self._review(request)
        place = self._place(parts)
        parameters = dict(request.query)
        verb = _VERBS.get(request.method) or _reading_verb(place, parameters)
        self._note(verb, place, parameters)
        if verb == "watch":
            return await self._watch(request, place, parameters)
        if verb == "list":
            return _bytes(self._list(place, parameters))
        body = await request.read()
        return self._write_or_get(request, place, parameters, body)

    def _note(self, verb: str, place: _Place, parameters: Json) -> None:
        plural = place.resource.plural + (f"/{place.subresource}" if place.subresource else "")
        self.asked.append(
            Asked(verb, place.resource.group, plural, place.namespace, place.name, parameters)
        )
        if (verb, plural) in self.denied:
            raise _RefusedError(403, f"{verb} of {plural} is forbidden")
        faults = self.faults.get((verb, plural))
        if faults:
            raise _RefusedError(faults.popleft())

    def _place(self, parts: list[str]) -> _Place:
        group, version, rest = (
            ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        )
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
            namespace, rest = rest[1], rest[2:]
        resource = self.objects.resources.get((group, rest[0])) if rest else None
        if resource is None or version not in resource.versions:
            raise _RefusedError(404, "the server could not find the requested resource")
        name, subresource = (*rest[1:], "", "")[:2]
        return _Place(resource, version, namespace, name, subresource)

    def _discovered(self, parts: list[str]) -> Json | None:
        resources = self.objects.resources.values()
        match parts:
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
            raise _RefusedError(404)
        return {
            "kind": "APIResourceList",
            "groupVersion": f"{group}/{version}".lstrip("/"),
            "resources": [
                {"name": each.plural, "kind": each.kind, "namespaced": each.namespaced}
                for each in found
            ],
        }

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(Asked("create", "authentication.k8s.io", "tokenreviews", "", "", {}))
        if ("create", "tokenreviews") in self.denied:
            raise _RefusedError(403)
        status = self.reviews.get(body["spec"]["token"], {"authenticated": False, "error": "no"})
        return _json({**body, "status": status}, 201)

    def _list(self, place: _Place, parameters: Json) -> bytes:
        limit = int(parameters.get("limit", "0"))
        if parameters.get("continue"):
            if parameters["continue"] not in self._pages:
                raise _RefusedError(410, "the list is too old to go on with")
            revision, items = self._pages[parameters["continue"]]
        else:
            passes = selects(parameters)
            held = self.objects.held[place.resource.plural]
            revision = self.objects.revision
            items = [
                document
                for (namespace, _), document in sorted(held.items())
                if place.namespace in ("", namespace) and passes(document)
            ]
        metadata: Json = {"resourceVersion": str(revision)}
        if limit and len(items) > limit:
            metadata["continue"] = f"{revision}-{len(self._pages)}"
            self._pages[metadata["continue"]] = (revision, items[limit:])
            items = items[:limit]
        shown = ({k: v for k, v in each.items() if k not in _TYPED} for each in items)
        head = {"kind": f"{place.resource.kind}List", "apiVersion": _api_version(place)}
        return encoded({**head, "metadata": metadata, "items": list(shown)})

    async def _watch(
        self, request: web.Request, place: _Place, parameters: Json
    ) -> web.StreamResponse:
        revision = int(parameters.get("resourceVersion") or self.objects.revision)
        if revision > self.objects.revision:
            raise _RefusedError(504, "Too large resource version")
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.watches += 1
        seconds = float(parameters.get("timeoutSeconds", "3600"))
        try:
            async with asyncio.timeout(seconds):
                async for line in self._lines(revision, place, parameters):
                    await response.write(line)
        except TimeoutError:
            pass
        except ConnectionError:
            return response
        finally:
            self.watches -= 1
        await response.write_eof()
        return response

    async def _lines(self, revision: int, place: _Place, parameters: Json) -> AsyncIterator[bytes]:
        passes = selects(parameters)
        marks = self._bookmarks
        while True:
            turn = self.objects.turn
            if revision < self.objects.compacted:
                gone = _RefusedError(410, "too old resource version").document
                yield encoded({"type": "ERROR", "object": gone}) + b"\n"
                return
            if not self.is_silent:
                lines = []
                for each in self.objects.since(revision, place.resource.plural):
                    if place.namespace in ("", each.key[0]):
                        lines += _events(each, passes, place)
                revision = self.objects.revision
                if marks != self._bookmarks and parameters.get("allowWatchBookmarks") == "true":
                    lines.append(_bookmark(place, revision))
                marks = self._bookmarks
                if lines:
                    yield b"".join(lines)
            if turn is self.objects.turn:
                await turn.wait()

    def _write_or_get(
        self, request: web.Request, place: _Place, parameters: Json, body: bytes
    ) -> web.Response:
        plural = place.resource.plural
        live = self.objects.get(plural, place.key) if place.name else None
        if live is None and request.method in ("GET", "PUT", "DELETE"):
            raise _RefusedError(404, f"{plural} {place.name!r} not found")
        match request.method:
            case "GET":
                return _json(_typed(place, live or {}))
            case "POST":
                return _json(_typed(place, self._create(place, parameters, json.loads(body))), 201)
            case "PUT":
                wanted = json.loads(body)
                _require_fresh(live or {}, wanted)
                return _json(_typed(place, self._update(place, parameters, live, wanted)))
            case "DELETE":
                options = json.loads(body) if body else {}
                wanted = {"metadata": options.get("preconditions") or {}}
                _require_fresh(live or {}, wanted)
                return _json(_typed(place, self.objects.delete(plural, place.key) or {}))
        return self._patch(request.content_type, place, parameters, body)

    def _create(self, place: _Place, parameters: Json, wanted: Json) -> Json:
        name = wanted.get("metadata", {}).get("name", "")
        key = (place.namespace, name)
        if not name or self.objects.get(place.resource.plural, key) is not None:
            raise _RefusedError(409, f"{name!r} already exists", reason="AlreadyExists")
        self._require_namespace(place)
        return self._update(place._replace(name=name), parameters, None, wanted)

    def _update(self, place: _Place, parameters: Json, live: Json | None, wanted: Json) -> Json:
        document = _with_subresource(place, live, wanted)
        manager = parameters.get("fieldManager", "unknown")
        noted = updated(live, document, manager=manager, subresource=place.subresource)
        return self.objects.write(place.resource.plural, place.key, noted)

    def _patch(
        self, content_type: str, place: _Place, parameters: Json, body: bytes
    ) -> web.Response:
        plural = place.resource.plural
        live = self.objects.get(plural, place.key)
        if content_type == "application/apply-patch+yaml":
            return self._apply(place, parameters, live, json.loads(body))
        if live is None:
            raise _RefusedError(404, f"{plural} {place.name!r} not found")
        try:
            wanted = (
                json_patched(live, json.loads(body))
                if content_type == "application/json-patch+json"
                else merge_patched(live, json.loads(body))
            )
        except PatchError as error:
            raise _RefusedError(422, str(error)) from error
        _require_fresh(live, wanted)
        return _json(_typed(place, self._update(place, parameters, live, wanted)))

    def _apply(
        self, place: _Place, parameters: Json, live: Json | None, wanted: Json
    ) -> web.Response:
        if "fieldManager" not in parameters:
            raise _RefusedError(400, "fieldManager is required")
        if live is None and place.subresource:
            raise _RefusedError(404, f"{place.name!r} not found")
        if live is None:
            self._require_namespace(place)
        _require_fresh(live or {}, wanted)
        shaped = {k: v for k, v in wanted.items() if _belongs(place, k)}
        try:
            document = apply(
                live or _typed(place, {"metadata": {}}),
                shaped,
                manager=parameters["fieldManager"],
                subresource=place.subresource,
                is_forced=parameters.get("force") == "true",
            )
        except FieldConflictError as error:
            raise _RefusedError(
                409, f"conflict with {', '.join(error.args)}", cause="FieldManagerConflict"
            ) from error
        written = self.objects.write(place.resource.plural, place.key, document)
        return _json(_typed(place, written), 201 if live is None else 200)

    def _require_namespace(self, place: _Place) -> None:
        if not place.resource.namespaced:
            return
        namespace = self.objects.get("namespaces", ("", place.namespace))
        if namespace is None:
            raise _RefusedError(404, f"namespaces {place.namespace!r} not found")
        if namespace["metadata"].get("deletionTimestamp"):
            raise _RefusedError(403, "the namespace is ending", cause="NamespaceTerminating")


_TYPED = frozenset({"apiVersion", "kind"})


def _abort(server: web.Server | None) -> None:
    for each in list(server.connections if server else ()):
        if each.transport is not None:
            each.transport.abort()


def _reading_verb(place: _Place, parameters: Json) -> str:
    if place.name:
        return "get"
    return "watch" if parameters.get("watch") in ("true", "1") else "list"


def _belongs(place: _Place, name: str) -> bool:
    if name in ("apiVersion", "kind", "metadata"):
        return True
    if place.subresource == "status":
        return name == "status"
    return not (place.resource.has_status and name == "status")


def _with_subresource(place: _Place, live: Json | None, wanted: Json) -> Json:
    """Return what a write means: to status only, or to all but status where there is one."""
    if place.subresource == "status":
        return {**(live or {}), "status": wanted.get("status", {})}
    shaped = {name: value for name, value in wanted.items() if _belongs(place, name)}
    if place.resource.has_status and live and "status" in live:
        shaped["status"] = live["status"]
    return shaped


def _require_fresh(live: Json, wanted: Json) -> None:
    for name in ("resourceVersion", "uid"):
        asked = wanted.get("metadata", {}).get(name)
        if asked and asked != live.get("metadata", {}).get(name):
            raise _RefusedError(409, "the object has been modified")


def _events(happening: Happening, passes: Any, place: _Place) -> list[bytes]:
    was = happening.before is not None and passes(happening.before)
    now = happening.after is not None and passes(happening.after)
    if not was and not now:
        return []
    kind = ("MODIFIED" if was else "ADDED") if now else "DELETED"
    document = happening.last
    if not now and happening.after is not None and happening.before is not None:
        document = happening.after
    return [encoded({"type": kind, "object": _typed(place, document)}) + b"\n"]


def _bookmark(place: _Place, revision: int) -> bytes:
    document = _typed(place, {"metadata": {"resourceVersion": str(revision)}})
    return encoded({"type": "BOOKMARK", "object": document}) + b"\n"


def _typed(place: _Place, document: Json) -> Json:
    return {**document, "apiVersion": _api_version(place), "kind": place.resource.kind}


def _api_version(place: _Place) -> str:
    return f"{place.resource.group}/{place.version}".lstrip("/")


def _group(name: str, versions: tuple[str, ...]) -> Json:
    return {"name": name, "versions": [{"version": each} for each in versions]}


def _json(document: Json, status: int = 200) -> web.Response:
    return _bytes(encoded(document), status)


def _bytes(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
