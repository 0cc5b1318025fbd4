"""Cursors: where a page ended goes out as a text that means nothing to others, and comes back."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from controlplane.admin.errors import BadCursorError


def write_cursor(place: tuple[Any, ...]) -> str:
    """Return ``place``, made of texts, numbers and tuples, as a cursor."""
    text = json.dumps(place, separators=(",", ":"), ensure_ascii=False)
    return urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def read_cursor(text: str) -> tuple[Any, ...]:
    """Return the place in a cursor.

    Raises:
        BadCursorError: there is none.
    """
    try:
        raw = urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        place = _tuples(json.loads(raw.decode("utf-8", "surrogatepass")))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not isinstance(place, tuple):
        raise BadCursorError("the cursor is none that this list gave out")
    return place


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
