"""Who has set which fields: server-side apply, updates and JSON patches on plain objects.

Field sets are nested as ``fieldsV1`` writes them. Lists are wholes, except those in ``_KEYS``.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]

_KEYS = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "listeners": ("name",),
    "ownerReferences": ("uid",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "managedFields")
_ABSENT = object()


class FieldConflictError(Exception):
    """Another manager has set the fields in ``args`` otherwise."""


class PatchError(Exception):
    """A JSON patch that does not apply; ``args`` say why."""


def apply(live: Json, wanted: Json, *, manager: str, subresource: str, is_forced: bool) -> Json:
    """Return ``live`` with ``wanted`` applied by ``manager``."""
    found = deepcopy(live)
    entries: list[Json] = found.setdefault("metadata", {}).pop("managedFields", [])
    wanted = {**wanted, "metadata": {**wanted.get("metadata", {})}}
    fields = _fields(_nameless(wanted))
    ours = _entry(entries, manager, "Apply", subresource)
    others = [each for each in entries if each is not ours]
    leaves = list(_leaves(fields))
    clashes = [
        (each, leaf)
        for each in others
        for leaf in leaves
        if leaf in set(_leaves(each["fieldsV1"])) and _at(live, leaf) != _at(wanted, leaf)
    ]
    if clashes and not is_forced:
        raise FieldConflictError(*sorted({"".join(leaf) for _, leaf in clashes}))
    for each, leaf in clashes:
        _forget(each["fieldsV1"], leaf)
    before = set(_leaves(ours["fieldsV1"])) if ours else set()
    kept = set(leaves).union(*(_leaves(each["fieldsV1"]) for each in others))
    # Items of keyed lists first: without the fields of its key one is not found again.
    for leaf in sorted(before - kept, key=lambda leaf: (leaf[-1] != ".", leaf)):
        _remove(found, leaf)
    _merge(found, wanted)
    entry = _new_entry(manager, "Apply", subresource, fields)
    found["metadata"]["managedFields"] = [*(each for each in others if each["fieldsV1"]), entry]
    return found


def updated(live: Json | None, wanted: Json, *, manager: str, subresource: str) -> Json:
    """Return ``wanted`` with the fields noted that ``manager`` changed, compared with ``live``."""
    found = deepcopy(wanted)
    entries = deepcopy((live or {}).get("metadata", {}).get("managedFields", []))
    before = _nameless(live or {})
    after = _nameless(found)
    changed = [
        leaf
        for leaf in _leaves(_fields(after))
        if live is None or _at(before, leaf) != _at(after, leaf)
    ]
    for each in entries:
        for leaf in list(_leaves(each["fieldsV1"])):
            if leaf in changed or _at(after, leaf) is _ABSENT:
                _forget(each["fieldsV1"], leaf)
    if changed:
        entry = _entry(entries, manager, "Update", subresource)
        if entry is None:
            entry = _new_entry(manager, "Update", subresource, {})
            entries.append(entry)
        for leaf in changed:
            place = entry["fieldsV1"]
            for step in leaf:
                place = place.setdefault(step, {})
    found.setdefault("metadata", {})["managedFields"] = [
        each for each in entries if each["fieldsV1"]
    ]
    return found


def json_patched(live: Json, operations: list[Json]) -> Json:
    """Return ``live`` after a JSON patch; raises PatchError."""
    found = deepcopy(live)
    for each in operations:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in each["path"].split("/")[1:]]
        _patch(found, each, steps)
    return found


def merge_patched(live: Json, patch: Json) -> Json:
    """Return ``live`` after a merge patch: null removes."""
    found = deepcopy(live)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            before = found.get(key)
            found[key] = merge_patched(before if isinstance(before, dict) else {}, value)
        else:
            found[key] = deepcopy(value)
    return found


def _patch(found: Any, operation: Json, steps: list[str]) -> None:
    place = found
    for step in steps[:-1]:
        try:
            place = place[int(step)] if isinstance(place, list) else place[step]
        except (KeyError, IndexError, ValueError) as error:
            raise PatchError(f"there is no {operation['path']}") from error
    last = steps[-1]
    key: Any = last
    if isinstance(place, list):
        key = len(place) if last == "-" else int(last)
    is_there = key in place if isinstance(place, dict) else key < len(place)
    match operation["op"]:
        case "test":
            if not is_there or place[key] != operation["value"]:
                raise PatchError(f"{operation['path']} is not as tested")
        case "add" if isinstance(place, list):
            place.insert(key, deepcopy(operation["value"]))
        case "add":
            place[key] = deepcopy(operation["value"])
        case "replace" if is_there:
            place[key] = deepcopy(operation["value"])
        case "remove" if is_there:
            del place[key]
        case _:
            raise PatchError(f"{operation['op']} of {operation['path']} is not possible")


def _nameless(value: Json) -> Json:
    noted = {key: each for key, each in value.items() if key not in {"apiVersion", "kind"}}
    metadata = noted.pop("metadata", None) or {}
    left = {key: each for key, each in metadata.items() if key not in _IDENTITY}
    left = {
        key: each for key, each in left.items() if key not in {"generation", "creationTimestamp"}
    }
    return {**noted, "metadata": left} if left else noted


def _new_entry(manager: str, operation: str, subresource: str, fields: Json) -> Json:
    entry = {"manager": manager, "operation": operation, "fieldsType": "FieldsV1"}
    if subresource:
        entry["subresource"] = subresource
    return {**entry, "fieldsV1": fields}


def _entry(entries: list[Json], manager: str, operation: str, subresource: str) -> Json | None:
    for each in entries:
        if (each["manager"], each["operation"], each.get("subresource", "")) == (
            manager,
            operation,
            subresource,
        ):
            return each
    return None


def _fields(value: Json) -> Json:
    found: Json = {}
    for name, below in value.items():
        if name in _KEYS and isinstance(below, list):
            found[f"f:{name}"] = {
                _item_step(name, item): {".": {}, **_fields(item)} for item in below
            }
        else:
            found[f"f:{name}"] = _fields(below) if isinstance(below, dict) else {}
    return found


def _item_step(name: str, item: Json) -> str:
    return "k:" + json.dumps({key: item.get(key) for key in _KEYS[name]}, separators=(",", ":"))


def _leaves(fields: Json, at: Path = ()) -> Iterator[Path]:
    for step, below in fields.items():
        if below:
            yield from _leaves(below, (*at, step))
        else:
            yield (*at, step)


def _forget(fields: Json, leaf: Path) -> None:
    below = fields.get(leaf[0])
    if below is None:
        return
    if len(leaf) > 1:
        _forget(below, leaf[1:])
    if len(leaf) == 1 or not below or set(below) == {"."}:
        del fields[leaf[0]]


def _at(value: Any, leaf: Path) -> Any:
    for step in leaf:
        if step == ".":
            return True
        if step.startswith("k:"):
            value = _item(value, step)
        else:
            value = value.get(step[2:], _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is _ABSENT:
            return _ABSENT
    return value


def _item(items: Any, step: str) -> Any:
    key = json.loads(step[2:])
    for each in items if isinstance(items, list) else ():
        if all(each.get(name) == value for name, value in key.items()):
            return each
    return _ABSENT


def _remove(value: Any, leaf: Path) -> None:
    """Remove one field; an item of a keyed list goes as a whole, emptied parents stay."""
    parents = [value]
    for step in leaf[:-1]:
        value = _at(value, (step,))
        if value is _ABSENT:
            return
        parents.append(value)
    if leaf[-1] == ".":
        parents[-2].remove(parents[-1])
    else:
        parents[-1].pop(leaf[-1][2:], None)


def _merge(live: Json, wanted: Json) -> None:
    for name, value in wanted.items():
        before = live.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif name in _KEYS and isinstance(value, list) and isinstance(before, list):
            for item in value:
                there = _item(before, _item_step(name, item))
                if there is _ABSENT:
                    before.append(deepcopy(item))
                else:
                    _merge(there, item)
        else:
            live[name] = deepcopy(value)
