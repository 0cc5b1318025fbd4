"""An API server in memory behind the protocol of ``cluster.client``: no sockets, no schemas.

It keeps resource versions and refuses stale ones. Server-side apply merges mappings and notes their
fields; lists are wholes, except conditions, which are told apart by type.
"""

import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    params: Mapping[str, str]
    body: bytes | None
    timeout: float


@dataclass
class ClusterMemory:
    """``faults`` are answered instead (or raised), one after the other, by method."""

    objects: dict[str, Json] = field(default_factory=dict)
    revision: int = 100
    asked: list[Asked] = field(default_factory=list)
    faults: dict[str, deque[Answer | Exception]] = field(default_factory=dict)
    lost_after: set[str] = field(default_factory=set)
    """Methods whose next request is carried out, and its answer lost."""
    is_away: bool = False
    events: list[bytes] = field(default_factory=list)

    def fail(self, method: str, *faults: Answer | Exception) -> None:
        self.faults.setdefault(method, deque()).extend(faults)

    @property
    def writes(self) -> list[Asked]:
        return [each for each in self.asked if each.method not in {"GET", "WATCH"}]

    def put(self, path: str, document: Json) -> Json:
        """Write as somebody else."""
        self.revision += 1
        metadata = {**document.get("metadata", {}), "resourceVersion": str(self.revision)}
        self.objects[path] = {**deepcopy(document), "metadata": metadata}
        return self.objects[path]

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 10.0,  # noqa: ASYNC109 - the protocol's
    ) -> Answer:
        self.asked.append(Asked(method, path, params or {}, body, timeout))
        if self.is_away:
            raise ClusterUnavailableError("away")
        if self.faults.get(method):
            fault = self.faults[method].popleft()
            if isinstance(fault, Exception):
                raise fault
            return fault
        answer = self._answer(
            method, path, params or {}, None if body is None else json.loads(body)
        )
        if method in self.lost_after:
            self.lost_after.discard(method)
            raise ClusterUnavailableError("the answer was lost")
        return answer

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        self.asked.append(Asked("WATCH", path, params, None, 0.0))
        if self.is_away:
            raise ClusterUnavailableError("away")
        yield b""
        while self.events:
            yield self.events.pop(0)

    def _answer(  # noqa: PLR0911 - one for each verb
        self, method: str, path: str, params: Mapping[str, str], body: Any
    ) -> Answer:
        found = self.objects.get(path)
        match method:
            case "GET" if found is not None:
                return _ok(found)
            case "GET" if path.rpartition("/")[2] in {"configmaps", "leases", "namespaces"}:
                return self._listed(path, params)
            case "POST" if f"{path}/{body['metadata']['name']}" in self.objects:
                return a_refusal(409, "AlreadyExists")
            case "POST":
                return _ok(self.put(f"{path}/{body['metadata']['name']}", body), status=201)
            case "PUT" if found is not None:
                if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                    return a_refusal(409, "Conflict")
                return _ok(self.put(path, body))
            case "PATCH":
                return self._applied(path, params, body)
        return a_refusal(404, "NotFound")

    def _listed(self, path: str, params: Mapping[str, str]) -> Answer:
        name = params.get("fieldSelector", "").partition("metadata.name=")[2]
        head, _, plural = path.rpartition("/")
        items = [
            each
            for at, each in self.objects.items()
            if at.startswith(head) and f"/{plural}/" in at and (not name or at.endswith(f"/{name}"))
        ]
        return _ok({"metadata": {"resourceVersion": str(self.revision)}, "items": items})

    def _applied(self, path: str, params: Mapping[str, str], body: Json) -> Answer:
        subresource = "status" if path.endswith("/status") else ""
        path = path.removesuffix("/status")
        found = self.objects.get(path)
        if found is None and subresource:
            return a_refusal(404, "NotFound")
        live = deepcopy(found or {})
        entries = live.get("metadata", {}).get("managedFields", [])
        owner = (params["fieldManager"], subresource)
        ours = {
            "manager": owner[0],
            "operation": "Apply",
            "subresource": subresource,
            "fieldsV1": _fields({**body, "metadata": {**body["metadata"], **_NAMELESS}}),
        }
        _merge(live, body)
        others = [each for each in entries if (each["manager"], each["subresource"]) != owner]
        live["metadata"]["managedFields"] = [*others, ours]
        if found == live:
            return _ok(live)
        return _ok(self.put(path, live), status=200 if found else 201)


_NAMELESS = {"name": None, "namespace": None, "uid": None, "resourceVersion": None}


def _merge(live: Json, wanted: Json) -> None:
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(name), dict):
            _merge(live[name], value)
        elif name == "conditions":
            types = {each["type"] for each in value}
            others = [each for each in live.get(name, []) if each["type"] not in types]
            live[name] = [*others, *deepcopy(value)]
        else:
            live[name] = deepcopy(value)


def _fields(value: Json) -> Json:
    found = {}
    for name, below in value.items():
        if below is None or name in {"apiVersion", "kind"}:
            continue
        if name == "conditions":
            found["f:conditions"] = {
                "k:" + json.dumps({"type": each["type"]}): {".": {}, **_fields(each)}
                for each in below
            }
        elif isinstance(below, dict):
            noted = _fields(below)
            if noted or name != "metadata":
                found[f"f:{name}"] = noted
        else:
            found[f"f:{name}"] = {}
    return found


def _ok(document: Json, *, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode())


def a_refusal(status: int, reason: str = "", *causes: str, message: str = "no") -> Answer:
    document = {
        "kind": "Status",
        "code": status,
        "reason": reason,
        "message": message,
        "details": {"causes": [{"reason": cause} for cause in causes]},
    }
    return Answer(status, json.dumps(document).encode())
