"""Changes of headers: those of a rule and of a backend come in, one set for Envoy goes out.

Envoy applies what a weighted backend says before what its route says, so the two are put together
here, the backend's last. docs/protocol/http-route-config.md EH-12, EH-13.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from envoy.config.core.v3 import base_pb2

from controlplane.encode.http_route_values import formatted, hostname, token
from controlplane.model.http_route import HeaderChanges, HeaderValue

_HOST: Final = ("host", ":authority")
_OVERWRITE: Final = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_APPEND: Final = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD


@dataclass(slots=True)
class _Fate:
    """What becomes of one header; ``is_dropped`` comes first, then the values."""

    is_dropped: bool = False
    replaced: str | None = None
    added: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What Envoy is told; ``host`` is the new host, which is no header to it."""

    options: tuple[Any, ...] = ()
    removed: tuple[str, ...] = ()
    host: str = ""


def request_headers(*changes: HeaderChanges) -> Headers:
    """Return all ``changes`` of a request, made one after the other.

    Raises ValueError for what Envoy would reject.
    """
    host = ""
    others = []
    for each in changes:
        if any(name.lower() in _HOST for name in each.removed):
            raise ValueError("a request has a host: it cannot be removed")
        for name, value in (*each.replaced, *each.added):
            if name.lower() in _HOST:
                host = hostname(value)
        others.append(
            HeaderChanges(
                replaced=_without_host(each.replaced),
                added=_without_host(each.added),
                removed=each.removed,
            )
        )
    found = _told(others)
    return Headers(options=found.options, removed=found.removed, host=host)


def response_headers(*changes: HeaderChanges) -> Headers:
    """Return all ``changes`` of a response, made one after the other.

    Raises ValueError for what Envoy would reject.
    """
    for each in changes:
        names = (*(name for name, _ in (*each.replaced, *each.added)), *each.removed)
        if any(name.lower() in _HOST for name in names):
            raise ValueError("a response has no host")
    return _told(changes)


def _without_host(values: tuple[HeaderValue, ...]) -> tuple[HeaderValue, ...]:
    return tuple(each for each in values if each.name.lower() not in _HOST)


def _told(changes: Any) -> Headers:
    fates: dict[str, _Fate] = {}

    def fate(name: str) -> _Fate:
        return fates.setdefault(token(name).lower(), _Fate())

    for each in changes:
        for name in each.removed:
            fates[token(name).lower()] = _Fate(is_dropped=True)
        for name, value in each.replaced:
            found = fate(name)
            found.replaced, found.added = value, []
        for name, value in each.added:
            fate(name).added.append(value)
    options = []
    for name, found in fates.items():
        if found.replaced is not None:
            options.append(_option(name, found.replaced, _OVERWRITE))
        options += [_option(name, value, _APPEND) for value in found.added]
    removed = tuple(
        name for name, found in fates.items() if found.is_dropped and found.replaced is None
    )
    return Headers(options=tuple(options), removed=removed)


def _option(name: str, value: str, action: Any) -> Any:
    return base_pb2.HeaderValueOption(
        header={"key": name, "value": formatted(value)},
        append_action=action,
        keep_empty_value=not value,
    )
