"""JSON in pieces: items come in one by one, text goes out without ever being held whole."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

_PIECE: Final = 40
"""Items turned into text between two chances for the event loop."""

Encode = Callable[[Any], str]

compact: Final[Encode] = json.JSONEncoder(separators=(",", ":")).encode
indented: Final[Encode] = json.JSONEncoder(indent=2).encode


async def array(items: Iterable[Any], encode: Encode = compact) -> AsyncIterator[bytes]:
    """Yield a JSON array of ``items``."""
    yield b"["
    texts: list[str] = []
    is_first = True
    for item in items:
        texts.append(encode(item))
        if len(texts) == _PIECE:
            yield (("" if is_first else ",") + ",".join(texts)).encode()
            texts.clear()
            is_first = False
            await asyncio.sleep(0)
    if texts:
        yield (("" if is_first else ",") + ",".join(texts)).encode()
    yield b"]"


async def object_of_arrays(
    members: Iterable[tuple[str, Iterable[Any]]], encode: Encode = compact
) -> AsyncIterator[bytes]:
    """Yield a JSON object whose members are arrays; each is begun when the one before has ended."""
    opening = b"{"
    for name, items in members:
        yield opening + json.dumps(name).encode() + b":"
        async for piece in array(items, encode):
            yield piece
        opening = b","
    yield b"}\n" if opening == b"," else b"{}\n"
