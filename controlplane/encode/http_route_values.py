"""What may stand in a route: text comes in, the same text or a reason goes out.

Envoy rejects all routes of a service for one value it does not like, so each is looked at here.
docs/protocol/http-route-config.md EH-2.
"""

import re
from datetime import timedelta
from typing import Any, Final

from google.protobuf import duration_pb2

_MOST_BYTES: Final = 16_384
_MOST_QUERY_NAME: Final = 1024
_TOKEN: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_|~`-]+")
_PATH: Final = re.compile(r"/[^\x00-\x20?#\x7f]*")
_HOST: Final = re.compile(r"[0-9A-Za-z._:\[\]-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST: Final = timedelta(days=365 * 100)


def token(text: str) -> str:
    """Return the name of a header or a cookie; raise ValueError if it is none."""
    if not _TOKEN.fullmatch(text) or len(text) > _MOST_BYTES:
        raise ValueError(f"{text[:64]!a} is no name of a header or cookie")
    return text


def header_value(text: str) -> str:
    """Return the value of a header; raise ValueError if it cannot be one."""
    if _CONTROL.search(text):
        raise ValueError(f"{text[:64]!a} holds control characters")
    if len(text.encode()) > _MOST_BYTES:
        raise ValueError(f"a value has more than {_MOST_BYTES} bytes")
    return text


def formatted(text: str) -> str:
    """Return the value of a header as Envoy's formatter takes it: nothing in it is a command."""
    return header_value(text).replace("%", "%%")


def query_name(text: str) -> str:
    """Return the name of a query parameter; raise ValueError if it cannot be one."""
    if not 1 <= len(text.encode()) <= _MOST_QUERY_NAME:
        raise ValueError(f"the name of a query parameter has 1 to {_MOST_QUERY_NAME} bytes")
    return text


def path(text: str) -> str:
    """Return a path without a query; raise ValueError if it is none."""
    if not _PATH.fullmatch(text) or len(text.encode()) > _MOST_BYTES:
        raise ValueError(f"{text[:64]!a} is no path")
    return text


def hostname(text: str) -> str:
    """Return a host, maybe with a port; raise ValueError if it is none."""
    if not _HOST.fullmatch(text):
        raise ValueError(f"{text[:64]!a} is no host")
    return text


def duration(value: timedelta) -> Any:
    """Return a duration; raise ValueError for one that is negative or beyond a century."""
    if not timedelta(0) <= value <= _LONGEST:
        raise ValueError(f"{value} is no time to wait")
    message = duration_pb2.Duration()
    message.FromTimedelta(value)
    return message
