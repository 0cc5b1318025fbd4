"""Who decides about requests for others: ``extensionProviders`` of the mesh configuration.

Raw JSON shape -> ``AuthorizationProvider``. One that cannot be read is told with its fault and
holds up nothing else. docs/protocol/authorization-providers.md EA-1 to EA-3.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from controlplane.manifests.mesh_config import WrittenProvider
from controlplane.manifests.read_fields import RefusedFieldError, convert
from controlplane.model.authorization_provider import (
    AskedBody,
    AuthorizationProvider,
    ProviderProtocol,
)

_SERVICE: Final = re.compile(r"(?:(?P<namespace>[a-z0-9-]{1,63})/)?(?P<hostname>[A-Za-z0-9.-]+)")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?")
_DURATION: Final = re.compile(r"(?P<seconds>[0-9]{1,6}(?:\.[0-9]{1,9})?)s")
_TOKEN: Final = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_PATH: Final = re.compile(r"/[\x21-\x7e]*")
_LONGEST: Final = 4096
_STATUSES: Final = frozenset(int(each) for each in HTTPStatus if each >= 300) - {418, 425, 451}
"""What Envoy can answer; one that says that all is well is no answer to a failure."""
_MOST_BODY: Final = 1 << 26
_MOST_PORT: Final = 65535
_HTTP: Final = "envoyExtAuthzHttp"
_GRPC: Final = "envoyExtAuthzGrpc"


class RawBody(msgspec.Struct, rename="camel"):
    """``includeRequestBodyInCheck``."""

    max_request_bytes: int = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class RawProvider(msgspec.Struct, rename="camel"):
    """``envoyExtAuthzHttp`` or ``envoyExtAuthzGrpc``; the latter has fewer fields."""

    service: str = ""
    port: int | str = 0
    timeout: str | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str | int | None = None
    include_request_body_in_check: RawBody | None = None
    path_prefix: str | None = None
    include_headers_in_check: list[str] | None = None
    include_request_headers_in_check: list[str] | None = None
    include_additional_headers_in_check: dict[str, str] | None = None
    headers_to_upstream_on_allow: list[str] | None = None
    headers_to_downstream_on_deny: list[str] | None = None
    headers_to_downstream_on_allow: list[str] | None = None


def read_providers(items: Iterable[Mapping[str, Any] | None] | None) -> Iterator[WrittenProvider]:
    """Yield every entry that says how to ask about requests, usable or not; others pass unseen."""
    taken: set[str] = set()
    for index, item in enumerate(items or ()):
        kind = next((each for each in (_HTTP, _GRPC) if item and item.get(each) is not None), None)
        if item is None or kind is None:
            continue
        place = f"extensionProviders[{index}]"
        name = item.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield WrittenProvider(field=f"{place}.name", fault="it needs a plain name")
        elif name in taken:
            fault = f"{name!r} is the name of another one before"
            yield WrittenProvider(field=f"{place}.name", fault=fault)
        else:
            taken.add(name)
            yield _written(name, kind, item[kind], place)


def _written(name: str, kind: str, value: Any, place: str) -> WrittenProvider:
    try:
        provider = _provider(name, kind, convert(value, RawProvider))
    except RefusedFieldError as error:
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.path)
        return WrittenProvider(name=name, field=f"{place}.{kind}{steps}", fault=error.reason)
    return WrittenProvider(name=name, field=f"{place}.{kind}", provider=provider)


def _provider(name: str, kind: str, raw: RawProvider) -> AuthorizationProvider:
    service = _SERVICE.fullmatch(raw.service)
    if service is None:
        raise RefusedFieldError(("service",), f"{raw.service!r} is no [namespace/]hostname")
    asked = raw.include_request_headers_in_check or raw.include_headers_in_check
    if raw.path_prefix and (not _PATH.fullmatch(raw.path_prefix) or "?" in raw.path_prefix):
        raise RefusedFieldError(("pathPrefix",), f"{raw.path_prefix!r} is no path")
    return AuthorizationProvider(
        name=name,
        protocol=ProviderProtocol.HTTP if kind == _HTTP else ProviderProtocol.GRPC,
        namespace=service["namespace"] or "",
        hostname=service["hostname"].lower(),
        port=_port(raw.port),
        seconds=_seconds(raw.timeout),
        fails_open=raw.fail_open,
        error_status=_status(raw.status_on_error),
        clears_routes=raw.clear_route_cache,
        path_prefix=raw.path_prefix or "",
        asked_headers=_patterns(asked, "includeRequestHeadersInCheck"),
        extra_headers=tuple(_extra_headers(raw.include_additional_headers_in_check or {})),
        allowed_upstream=_patterns(raw.headers_to_upstream_on_allow, "headersToUpstreamOnAllow"),
        allowed_downstream=_patterns(
            raw.headers_to_downstream_on_allow, "headersToDownstreamOnAllow"
        ),
        denied_downstream=_patterns(raw.headers_to_downstream_on_deny, "headersToDownstreamOnDeny"),
        body=_body(raw.include_request_body_in_check),
    )


def _port(value: int | str) -> int:
    text = str(value)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 0 < number <= _MOST_PORT:
        raise RefusedFieldError(("port",), f"{value!r} is no port")
    return number


def _seconds(text: str | None) -> float:
    if text is None:
        return AuthorizationProvider.DEFAULT_SECONDS
    match = _DURATION.fullmatch(text)
    seconds = float(match["seconds"]) if match else 0.0
    if seconds <= 0:
        raise RefusedFieldError(("timeout",), f"{text!r} is no time such as 0.5s")
    return seconds


def _status(value: str | int | None) -> int:
    if value is None:
        return AuthorizationProvider.DEFAULT_STATUS
    text = str(value)
    status = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    if status not in _STATUSES:
        raise RefusedFieldError(("statusOnError",), f"{value!r} is no status of a refusal")
    return status


def _patterns(texts: Iterable[str] | None, field: str) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(texts or ()):
        core = text.removeprefix("*") if text.startswith("*") else text.removesuffix("*")
        if text != "*" and not _TOKEN.fullmatch(core):
            reason = f"{text!r} is no name of a header, no prefix* and no *suffix"
            raise RefusedFieldError((field, index), reason)
        found.append(text.lower())
    return tuple(dict.fromkeys(found))


def _extra_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(headers.items()):
        is_usable = _TOKEN.fullmatch(name) and _VALUE.fullmatch(value) and len(value) <= _LONGEST
        if not is_usable:
            path = ("includeAdditionalHeadersInCheck", name)
            raise RefusedFieldError(path, "it is no header that can be sent")
        yield name.lower(), value


def _body(raw: RawBody | None) -> AskedBody | None:
    if raw is None:
        return None
    if not 0 < raw.max_request_bytes <= _MOST_BODY:
        path = ("includeRequestBodyInCheck", "maxRequestBytes")
        raise RefusedFieldError(path, f"{raw.max_request_bytes} is not between 1 and {_MOST_BODY}")
    return AskedBody(raw.max_request_bytes, raw.allow_partial_message, raw.pack_as_bytes)
