"""Frames: resources come in, bytes of a discovery response go out.

A frame holds what brings a client from one commit to another, already in wire form; every client
that needs the same step shares it, and ``xds.response`` adds the type and the nonce. Nothing here
parses or builds protobuf objects.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from controlplane.encode.resource import Resource

Result = TypeVar("Result")

PIECE_BYTES = 256 * 1024
"""Upper bound of a piece of a frame that holds more than one resource."""

SLICE = 1500
"""Resources handled between two breathing points: about 2 ms."""

_RESOURCES = b"\x12"
_REMOVED_RESOURCES = b"\x32"


def varint(value: int) -> bytes:
    """Return ``value`` (not negative) as a protobuf varint."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_PREFIXES = tuple(_RESOURCES + varint(size) for size in range(2048))


def update_prefix(size: int) -> bytes:
    """Return the tag and length that precede a resource of ``size`` bytes in a response."""
    return _PREFIXES[size] if size < len(_PREFIXES) else _RESOURCES + varint(size)


def removed_entries(names: Iterable[str]) -> bytes:
    """Return ``names`` as the removed_resources of a response."""
    parts: list[bytes] = []
    for name in names:
        encoded = name.encode()
        parts += (_REMOVED_RESOURCES, varint(len(encoded)), encoded)
    return b"".join(parts)


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class Frame:
    """What brings a client to ``commit``: encoded updates in pieces, and names that are gone.

    No name is both updated and removed. ``wholes`` keeps finished responses, by nonce, for those
    who share them.
    """

    commit: int
    pieces: tuple[bytes, ...]
    removed: tuple[str, ...]
    updated: int
    wholes: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to tell."""
        return not self.updated and not self.removed

    @property
    def size(self) -> int:
        """Return the bytes of all pieces."""
        return sum(map(len, self.pieces))


def build_frame(
    commit: int,
    updates: Iterable[Resource],
    removed: tuple[str, ...],
    *,
    with_aliases: bool = False,
) -> Generator[None, None, Frame]:
    """Join ``updates`` into a frame, with a breathing point after every ``SLICE`` resources.

    ``with_aliases`` adds the aliases to each resource, which only on-demand clients are sent.
    """
    pieces: list[bytes] = []
    parts: list[bytes] = []
    size = 0
    count = 0
    for resource in updates:
        body = resource.body
        if with_aliases and resource.aliases:
            body += _aliases(resource.aliases)
        prefix = update_prefix(len(body))
        if parts and size + len(body) > PIECE_BYTES:
            pieces.append(b"".join(parts))
            parts = []
            size = 0
        parts.append(prefix)
        parts.append(body)
        size += len(prefix) + len(body)
        count += 1
        if count % SLICE == 0:
            yield
    if parts:
        pieces.append(b"".join(parts))
    return Frame(commit=commit, pieces=tuple(pieces), removed=removed, updated=count)


def _aliases(aliases: tuple[str, ...]) -> bytes:
    """Return the aliases field of a resource; appended bytes merge into the message."""
    parts = []
    for alias in aliases:
        encoded = alias.encode()
        parts.append(b"\x22" + varint(len(encoded)) + encoded)
    return b"".join(parts)


def finished(work: Generator[None, None, Result]) -> Result:
    """Run sliced work to its end at once and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return cast("Result", stop.value)
