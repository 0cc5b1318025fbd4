"""Pairs of manifests and what they must become, run from the reader to the bytes.

``<name>.yaml`` holds ordinary manifests. Its comments steer the run:

- ``# proves: WL-1, SV-2`` and ``# refutes: ...`` say which rules it shows;
- ``# settings: {cluster_id: ""}`` gives fields of MeshSettings;
- ``# step: title`` starts the next step: its documents are applied over what is there;
- ``# delete: Kind namespace/name`` removes an object in the step (``Kind name`` without one).

``<name>.expected.yaml`` is a list of one mapping per step (or one mapping for one step) of:

- ``addresses``, ``authorizations``: resource name -> part of its protobuf JSON, or ``absent``; a
  null field must be absent. IP addresses are written as text instead of base64. Lists are whole,
  their mappings may be partial.
- ``address_names``, ``authorization_names``: every name;
- ``changed``, ``removed``: every resource name of both types that the step added or changed, or
  took away;
- ``conditions``: every condition of the objects it names; ``conditions_absent``: objects without;
- ``problems``: every problem as code and object, notes left out;
- ``node_policies``: node -> every policy it needs that is not global.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.dataflow import Graph
from controlplane.encode.document import protobuf_json
from controlplane.encode.resource import Resource
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_documents
from controlplane.mesh.inputs import MESH
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.problem import Problem, Severity
from tests.support.mesh import Mesh

_STEP: Final = re.compile(r"^# step:.*$", re.MULTILINE)
_DELETE: Final = re.compile(r"^# delete:\s*(\S+)\s+(?:(\S+)/)?(\S+)\s*$", re.MULTILINE)
_SETTINGS: Final = re.compile(r"^# settings:\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """Objects to put and (kind, key) of objects to remove."""

    manifests: tuple[Manifest | MeshConfig, ...]
    removed: tuple[tuple[str, Name], ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    settings: MeshSettings
    steps: tuple[Step, ...]
    expected: tuple[Mapping[str, Any], ...]


def read_pair(path: Path) -> Pair:
    text = path.read_text()
    settings = _SETTINGS.search(text)
    expected = yaml.safe_load(path.with_name(f"{path.stem}.expected.yaml").read_text())
    pair = Pair(
        settings=MeshSettings(**(yaml.safe_load(settings[1]) if settings else {})),
        steps=tuple(_step(part) for part in _STEP.split(text)),
        expected=tuple(expected if isinstance(expected, list) else [expected]),
    )
    assert len(pair.steps) == len(pair.expected), "one expectation per step"
    return pair


def run_pair(pair: Pair) -> None:
    """Run the steps and compare; the end state must equal that of loading the last objects."""
    mesh = Mesh(pair.settings)
    before: dict[str, str] = {}
    held: dict[tuple[str, Name], Manifest | MeshConfig] = {}
    read_problems: dict[tuple[str, Name], Problem] = {}
    for number, (step, expected) in enumerate(zip(pair.steps, pair.expected, strict=True)):
        mesh.apply(step.manifests, step.removed)
        for identity in step.removed:
            del held[identity]
        held.update({_identity(manifest): manifest for manifest in step.manifests})
        for problem in step.problems:
            assert problem.object is not None, problem
            reference = problem.object
            read_problems[reference.kind, Name(reference.namespace, reference.name)] = problem
        for identity in (*step.removed, *(_identity(manifest) for manifest in step.manifests)):
            read_problems.pop(identity, None)
        after = _versions(mesh)
        problems = [*read_problems.values(), *mesh.problems()]
        differences = [
            *_differences_of(mesh, expected, problems),
            *_differences_between(before, after, expected),
        ]
        assert not differences, f"step {number}:\n" + "\n".join(differences)
        before = after
    again = Mesh(pair.settings, Graph(shuffle=1))
    again.apply(held.values())
    assert _versions(again) == before
    assert again.conditions() == mesh.conditions()


def _step(text: str) -> Step:
    reading = read_documents(text, None)
    assert reading.readable, reading.problems
    return Step(
        manifests=tuple(document.manifest for document in reading.documents),
        removed=tuple(
            (kind, Name(namespace or "", name)) for kind, namespace, name in _DELETE.findall(text)
        ),
        problems=tuple(
            problem for problem in reading.problems if problem.severity is not Severity.INFO
        ),
    )


def _identity(manifest: Manifest | MeshConfig) -> tuple[str, Name]:
    if isinstance(manifest, MeshConfig):
        return "MeshConfig", MESH
    return manifest.kind, manifest.key


def _versions(mesh: Mesh) -> dict[str, str]:
    addresses, authorizations = mesh.addresses(), mesh.authorizations()
    assert not set(addresses) & set(authorizations), "names of a pair differ between types"
    resources = addresses | authorizations
    return {name: resource.version for name, resource in resources.items()}


def _differences_of(
    mesh: Mesh, expected: Mapping[str, Any], problems: Iterable[Problem]
) -> Iterator[str]:
    for what, plural, resources in (
        ("address", "addresses", mesh.addresses()),
        ("authorization", "authorizations", mesh.authorizations()),
    ):
        names = expected.get(f"{what}_names")
        if names is not None:
            yield from _unequal(f"{what}_names", sorted(resources), sorted(names))
        for name, wanted in (expected.get(plural) or {}).items():
            yield from _differences_of_one(name, resources.get(name), wanted)
    yield from _differences_of_conditions(mesh.conditions(), expected)
    if "problems" in expected:
        found = sorted({(problem.code, str(problem.object)) for problem in problems})
        wanted = sorted((each["code"], each["object"]) for each in expected["problems"])
        yield from _unequal("problems", found, wanted)
    for node, policies in (expected.get("node_policies") or {}).items():
        needed = mesh.node_policies().get(node, [])
        yield from _unequal(f"policies of {node}", needed, sorted(policies))


def _differences_of_one(name: str, found: Resource | None, wanted: Any) -> Iterator[str]:
    if wanted == "absent":
        if found is not None:
            yield f"{name} is there"
    elif found is None:
        yield f"{name} is not there"
    else:
        yield from _missing(name, _readable(protobuf_json(found)), wanted)


def _differences_of_conditions(
    found: Mapping[str, list[dict[str, Any]]], expected: Mapping[str, Any]
) -> Iterator[str]:
    wanted: dict[str, list[dict[str, Any]]] = {
        name: [] for name in expected.get("conditions_absent") or ()
    }
    for each in expected.get("conditions") or ():
        told = {key: value for key, value in each.items() if key != "object"}
        told["status"] = str(told["status"]) == "True"
        wanted.setdefault(each["object"], []).append(told)
    for name, conditions in wanted.items():
        ordered = sorted(conditions, key=lambda condition: str(condition["type"]))
        yield from _unequal(f"conditions of {name}", found.get(name, []), ordered)


def _differences_between(
    before: Mapping[str, str], after: Mapping[str, str], expected: Mapping[str, Any]
) -> Iterator[str]:
    if "changed" in expected:
        changed = sorted(name for name in after if after[name] != before.get(name))
        yield from _unequal("changed", changed, sorted(expected["changed"]))
    if "removed" in expected:
        removed = sorted(set(before) - set(after))
        yield from _unequal("removed", removed, sorted(expected["removed"]))


def _unequal(what: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {found!r}, not {wanted!r}"


def _missing(path: str, found: Any, wanted: Any) -> Iterator[str]:
    match wanted:
        case dict() if isinstance(found, dict):
            for key, value in wanted.items():
                yield from _missing(f"{path}.{key}", found.get(key), value)
        case list() if isinstance(found, list) and len(found) == len(wanted):
            for position, value in enumerate(wanted):
                yield from _missing(f"{path}[{position}]", found[position], value)
        case _:
            yield from _unequal(path, found, wanted)


def _readable(value: Any, key: str = "") -> Any:
    """Return protobuf JSON with the bytes of IP addresses as text."""
    match value:
        case dict():
            return {name: _readable(part, name) for name, part in value.items()}
        case list():
            return [_readable(part, key) for part in value]
        case str() if key in {"address", "addresses"}:
            return _address_text(value)
        case _:
            return value


def _address_text(value: str) -> str:
    try:
        packed = base64.b64decode(value, validate=True)
    except binascii.Error:
        return value
    return text_from_address(packed) if len(packed) in {4, 16} else value
