"""Is there anything to write: a live object and the fields we want in, yes or no out.

The API server notes in ``metadata.managedFields`` which fields each field manager has set. An apply
changes nothing where our entry names exactly the fields that are wanted and each has the value
that is wanted; fields of others do not matter (docs/protocol/leadership.md WR-1, WR-2).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NOT_SENT: Final = frozenset({"apiVersion", "kind"})
_IDENTITY: Final = frozenset({"name", "namespace", "uid", "resourceVersion"})


def is_applied(
    live: Mapping[str, Any], wanted: Mapping[str, Any], *, manager: str, subresource: str = ""
) -> bool:
    """Tell whether ``wanted``, applied by ``manager``, is what ``live`` already says.

    When in doubt it is not: the API server finds out for itself and changes nothing.
    """
    fields = _fields_of(live, manager, subresource)
    return fields is not None and _is_same(fields, live, _without_identity(wanted))


def values_of(live: Mapping[str, Any], *, manager: str, subresource: str = "") -> Any:
    """Return what ``live`` says at the fields that ``manager`` set by applying, None for none.

    Equal as long as nobody changes one of these fields, whatever else happens to the object.
    """
    fields = _fields_of(live, manager, subresource)
    return None if fields is None else _values(fields, live)


def _values(fields: Mapping[str, Any], live: Any) -> Any:
    parts = {key: below for key, below in fields.items() if key != "."}
    if not parts:
        return live
    return {part: _values(below, _at(part, live)) for part, below in parts.items()}


def _at(part: str, live: Any) -> Any:
    """Return what is at one step of a field set; None where that is nothing, or not told apart."""
    sort, _, text = part.partition(":")
    if sort == "f":
        return live.get(text) if isinstance(live, Mapping) else None
    try:
        key = json.loads(text)
    except ValueError:
        return None
    if not isinstance(live, list):
        return None
    if isinstance(key, dict):
        return _with_key(live, key)
    return key if key in live else None


def _without_identity(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is noted of ``wanted``: what says which object it is never is."""
    noted = {key: value for key, value in wanted.items() if key not in _NOT_SENT}
    metadata = {
        key: value
        for key, value in (noted.pop("metadata", None) or {}).items()
        if key not in _IDENTITY
    }
    return {**noted, "metadata": metadata} if metadata else noted


def _fields_of(live: Mapping[str, Any], manager: str, subresource: str) -> Mapping[str, Any] | None:
    metadata = live.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    for entry in entries or ():
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and (entry.get("subresource") or "") == subresource
        ):
            fields = entry.get("fieldsV1")
            return fields if isinstance(fields, Mapping) else None
    return None


def _is_same(fields: Mapping[str, Any], live: Any, wanted: Any) -> bool:
    """Compare below one place; ``fields`` are those noted there, none where it is a whole."""
    parts = {key: below for key, below in fields.items() if key != "."}
    if not parts:
        return bool(live == wanted)
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return _is_same_mapping(parts, live, wanted)
    if isinstance(live, list) and isinstance(wanted, list | tuple):
        return _is_same_list(parts, live, wanted)
    return False


def _is_same_mapping(
    parts: Mapping[str, Any], live: Mapping[str, Any], wanted: Mapping[str, Any]
) -> bool:
    return parts.keys() == {f"f:{name}" for name in wanted} and all(
        name in live and _is_same(parts[f"f:{name}"], live[name], value)
        for name, value in wanted.items()
    )


def _is_same_list(parts: Mapping[str, Any], live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(parts) == len(wanted) and all(
        _is_same_item(part, below, live, wanted) for part, below in parts.items()
    )


def _is_same_item(
    part: str, below: Mapping[str, Any], live: Sequence[Any], wanted: Sequence[Any]
) -> bool:
    """Compare one item of a list: ``part`` names it by its value or by the fields of its key."""
    sort, _, text = part.partition(":")
    try:
        key = json.loads(text)
    except ValueError:
        return False
    if sort == "v":
        return key in live and key in wanted
    if sort != "k" or not isinstance(key, dict):
        return False
    ours, theirs = _with_key(wanted, key), _with_key(live, key)
    return ours is not None and theirs is not None and _is_same(below, theirs, ours)


def _with_key(items: Sequence[Any], key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the one item with ``key``; what an item leaves out may be a default of the key's."""
    found = [
        item
        for item in items
        if isinstance(item, Mapping) and all(item.get(k, v) == v for k, v in key.items())
    ]
    return found[0] if len(found) == 1 else None
