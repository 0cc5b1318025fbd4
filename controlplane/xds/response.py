"""Responses: frames of a snapshot in, bytes of a DeltaDiscoveryResponse out, by concatenation."""

from dataclasses import dataclass, field

from controlplane.snapshots.frame import Frame, removed_entries, varint


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response, ready to be sent, and what it holds.

    ``commit`` is the commit it brings the client to, or on the way to. ``is_first`` marks the
    whole initial state of a type.
    """

    type_url: str
    nonce: str
    body: bytes = field(repr=False)
    commit: int
    updated: int
    removed: int
    is_first: bool = False


def tail(type_url: str, nonce: str) -> bytes:
    """Return the system_version_info, type_url and nonce fields of a response.

    The version is the commit, with which every nonce starts (docs/protocol/discovery.md XDS-20).
    """
    fields = ((b"\x0a", nonce.partition(".")[0]), (b"\x22", type_url), (b"\x2a", nonce))
    texts = ((tag, text.encode()) for tag, text in fields)
    return b"".join(tag + varint(len(text)) + text for tag, text in texts)


def shared_body(frame: Frame, type_url: str, nonce: str) -> bytes:
    """Return a response of the whole frame; the same bytes object for all who ask for it."""
    key = (type_url, nonce)
    body = frame.wholes.get(key)
    if body is None:
        body = frame.wholes[key] = own_body(frame.pieces, frame.removed, type_url, nonce)
    return body


def own_body(
    pieces: tuple[bytes, ...], removed: tuple[str, ...], type_url: str, nonce: str
) -> bytes:
    """Return a response for one client."""
    return b"".join((*pieces, removed_entries(removed), tail(type_url, nonce)))
