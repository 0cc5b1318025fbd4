"""Sharing: equal values come in one after another, one object for all of them goes out.

The pods of a deployment carry the same labels, annotations and owner, and a large mesh is mostly
pods. Only what was seen lately is remembered, because replicas are listed near each other.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeVar

from controlplane.manifests.metadata import Owner

LIMIT: Final = 4096
"""Values remembered; when there are more, all are forgotten."""

H = TypeVar("H", bound=Hashable)
V = TypeVar("V")

_mappings: dict[Hashable, dict[str, str]] = {}
_owners: dict[Hashable, Owner] = {}
_tuples: dict[Hashable, tuple[Any, ...]] = {}


def shared_mapping(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """Return a dictionary equal to ``mapping``, which nobody may change; empty for None."""
    if not mapping:
        return _EMPTY
    return _shared(_mappings, tuple(mapping.items()), dict(mapping))


def shared_owner(owner: Owner) -> Owner:
    """Return an owner equal to ``owner``."""
    return _shared(_owners, (owner.kind, owner.name), owner)


def shared_tuple(values: tuple[H, ...]) -> tuple[H, ...]:
    """Return a tuple equal to ``values``."""
    return _shared(_tuples, values, values) if values else values


def _shared(known: dict[Hashable, V], key: Hashable, value: V) -> V:
    found = known.get(key)
    if found is None:
        if len(known) >= LIMIT:
            known.clear()
        found = known[key] = value
    return found


_EMPTY: Final[dict[str, str]] = {}
