"""One object of a known kind: JSON bytes in, its manifest or the Problem that says why not out.

The bytes are decoded straight into the raw struct of the kind, which names only what is read, so
that the rest of an object is passed over and never becomes Python values. What cannot be decoded
is read again the long way, because that names the field.
"""

from functools import lru_cache
from typing import Any, Final

import msgspec

from controlplane.manifests.documents import Limits
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_fields import RefusedFieldError
from controlplane.manifests.read_kinds import KINDS, Kind
from controlplane.manifests.read_metadata import read_metadata
from controlplane.manifests.read_objects import SYSTEM_NAMESPACE, read_object
from controlplane.model.problem import Problem, Severity

__all__ = ["KINDS", "Kind", "decode_any_object", "decode_object"]

_KINDS: Final = len(KINDS)
_LIMITS: Final = Limits()


def decode_object(kind: Kind, text: bytes | msgspec.Raw) -> Manifest | Problem:
    """Return the object of kind ``kind`` that ``text`` is, or the Problem that says why not.

    ``text`` is one JSON object of an API version that ``kind`` reads; it may leave out
    ``apiVersion`` and ``kind``, as the items of a list do. Never raises for bad input.
    """
    try:
        raw = _decoder(kind).decode(text)
        metadata = read_metadata(
            raw.metadata, namespaced=kind.namespaced, keeps_annotations=kind.keeps_annotations
        )
        return kind.read(raw, metadata)
    except (msgspec.MsgspecError, RefusedFieldError, RecursionError, UnicodeError):
        implied = {"apiVersion": _api_version(kind), "kind": kind.kind}
        found = decode_any_object(text, implied=implied)
    if isinstance(found, Manifest | Problem):
        return found
    return _unreadable(f"it is no {kind.kind}")


def decode_any_object(
    text: bytes | msgspec.Raw,
    *,
    implied: dict[str, str] | None = None,
    system_namespace: str = SYSTEM_NAMESPACE,
) -> Manifest | MeshConfig | Problem | None:
    """Return what ``read_object`` makes of ``text``; ``implied`` fields count where absent."""
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return _unreadable(f"not valid JSON: {error}")
    if isinstance(value, dict) and implied:
        value = {**implied, **value}
    return read_object(value, system_namespace=system_namespace, limits=_LIMITS)


@lru_cache(maxsize=_KINDS)
def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind.raw)


def _api_version(kind: Kind) -> str:
    version = kind.versions[0]
    return f"{kind.group}/{version}" if kind.group else version


def _unreadable(reason: str) -> Problem:
    return Problem(severity=Severity.ERROR, code="manifest.invalid", message=reason)
