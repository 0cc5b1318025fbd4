"""What the double of the API server says: documents, lines of watches and refusals as JSON."""

import json
from typing import Any, NamedTuple

from aiohttp import web

from tests.support.kubernetes_access import Asked, refusal
from tests.support.kubernetes_objects import Happening, Json, Key, Resource, encoded

_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
            409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests",
            500: "InternalError", 504: "Timeout"}  # fmt: skip
TYPED = frozenset({"apiVersion", "kind"})


class Place(NamedTuple):
    """What a path leads to; ``name`` is "" for a collection."""

    resource: Resource
    version: str
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def plural(self) -> str:
        """The plural, with the subresource if there is one."""
        return self.resource.plural + (f"/{self.subresource}" if self.subresource else "")


class RefusedError(Exception):
    """A request that ends with ``document``, a Status."""

    def __init__(
        self, status: int, message: str = "", *, reason: str = "", cause: str = "", **details: Any
    ) -> None:
        super().__init__(message)
        self.headers: dict[str, str] = {}
        if status == 429:
            self.headers["retry-after"] = "1"
            details["retryAfterSeconds"] = 1
        self.document: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or _REASONS.get(status, ""),
            "details": {**details, "causes": [{"reason": cause}] if cause else []},
            "code": status,
        }


def forbidden(asked: Asked, user: str) -> RefusedError:
    about = {"name": asked.name, "group": asked.group, "kind": asked.resource.partition("/")[0]}
    return RefusedError(403, refusal(asked, user), **{k: v for k, v in about.items() if v})


def require_fresh(live: Json, wanted: Json) -> None:
    for name in ("resourceVersion", "uid"):
        asked = wanted.get("metadata", {}).get(name)
        if asked and asked != live.get("metadata", {}).get(name):
            raise RefusedError(409, "the object has been modified")


def events(happening: Happening, passes: Any, place: Place) -> list[bytes]:
    was = happening.before is not None and passes(happening.before)
    now = happening.after is not None and passes(happening.after)
    if not was and not now:
        return []
    kind = ("MODIFIED" if was else "ADDED") if now else "DELETED"
    return [event(kind, typed(place, happening.last))]


def event(kind: str, document: Json) -> bytes:
    return encoded({"type": kind, "object": document}) + b"\n"


def bookmark(place: Place, revision: int) -> bytes:
    return event("BOOKMARK", typed(place, {"metadata": {"resourceVersion": str(revision)}}))


def typed(place: Place, document: Json) -> Json:
    return {**document, "apiVersion": api_version(place), "kind": place.resource.kind}


def api_version(place: Place) -> str:
    return f"{place.resource.group}/{place.version}".lstrip("/")


def answer(
    document: Json, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return answer_of(encoded(document), status, headers)


def answer_of(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def body_of(text: bytes) -> Json:
    """Return a request's document; raises RefusedError where it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RefusedError(400, "the body is no JSON") from error
    if not isinstance(found, dict):
        raise RefusedError(400, "the body is no object")
    return found
