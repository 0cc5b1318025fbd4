"""The one reader: text or objects -> typed manifests, Problems and the kinds nobody reads.

Text of a file comes in through ``read_documents`` (or ``read_steps``, in slices); one object of
any other origin through ``read_object``. Sources hand the manifests to the graph's inputs and show
the Problems. Rules: docs/protocol/manifests.md.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from controlplane.manifests.documents import Fault, Limits, Path, PlainDocument, field_path
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_fields import RefusedFieldError, type_name
from controlplane.manifests.read_json import read_json
from controlplane.manifests.read_mesh_config import read_mesh_config
from controlplane.manifests.read_objects import (
    MESH_CONFIG,
    SYSTEM_NAMESPACE,
    Identity,
    identity_of,
    kept_identity,
    read_object,
    read_or_refuse,
    readable_identity,
    type_of,
)
from controlplane.manifests.read_yaml import read_yaml
from controlplane.model.problem import Problem, Severity

__all__ = [
    "MESH_CONFIG",
    "MESH_CONFIG_FILES",
    "SYSTEM_NAMESPACE",
    "Document",
    "Identity",
    "Reading",
    "identity_of",
    "read_documents",
    "read_object",
    "read_steps",
    "unknown_kind_note",
]

MESH_CONFIG_FILES: Final = frozenset({"meshconfig.yaml", "meshconfig.yml", "meshconfig.json"})
_DEFAULT_LIMITS: Final = Limits()
_EXPECTED_OF_PROXIES: Final = frozenset(
    {
        "EnvoyFilter.networking.istio.io",
        "ProxyConfig.networking.istio.io",
        "Sidecar.networking.istio.io",
        "Telemetry.telemetry.istio.io",
        "TrafficExtension.extensions.istio.io",
        "WasmPlugin.extensions.istio.io",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object that was read; ``line`` is 1-based, None when it has no file."""

    manifest: Manifest | MeshConfig
    line: int | None = None

    @property
    def identity(self) -> Identity:
        """Return which object this is."""
        return identity_of(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a text gave.

    ``skipped`` are the kinds nobody reads (``Job.batch``), sorted, each once. ``refused`` says
    which objects were there but could not be read, None for one whose identity is unreadable.
    ``readable`` is False when the text as a whole was refused: then there are only problems.
    ``empty`` says that the text held nothing, not even a comment.
    """

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: tuple[Identity | None, ...] = ()
    readable: bool = True
    empty: bool = False


def unknown_kind_note(kind: str) -> Problem:
    """Return the one note about objects of a kind nobody reads.

    It is a warning where somebody would expect proxies to do what they say (MF-29).
    """
    if kind in _EXPECTED_OF_PROXIES:
        return Problem(
            severity=Severity.WARNING,
            code="manifest.unsupported-kind",
            message=f"objects of kind {kind} are not read: nothing that they say is in force, "
            "at waypoints neither",
        )
    return Problem(
        severity=Severity.INFO,
        code="manifest.unknown-kind",
        message=f"objects of kind {kind} are not read here and were skipped",
    )


def read_documents(
    text: str | bytes,
    file: str | None = None,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    system_namespace: str = SYSTEM_NAMESPACE,
) -> Reading:
    """Return everything in ``text``: YAML documents or JSON values, Lists taken apart.

    Never raises for bad input. ``file`` names the text in Problems, and makes a document without
    a kind the mesh configuration when it is called ``meshconfig.yaml``.
    """
    steps = read_steps(text, file, limits=limits, system_namespace=system_namespace)
    try:
        while True:
            next(steps)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return] # the generator returns a Reading


def read_steps(
    text: str | bytes,
    file: str | None = None,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    system_namespace: str = SYSTEM_NAMESPACE,
) -> Generator[None, None, Reading]:
    """Do what ``read_documents`` does, yielding every few milliseconds at most."""
    try:
        decoded = _decoded(text, limits)
        documents = yield from _plain_documents(decoded, file, limits)
    except UnreadableTextError as error:
        problem = Problem(
            severity=Severity.ERROR,
            code=error.code,
            message=error.reason,
            file=file,
            line=error.line,
        )
        return Reading(problems=(problem,), readable=False)
    collector = _Collector(file, limits, system_namespace)
    for document in documents:
        for item in collector.items(document):
            collector.read(*item)
            yield
    return collector.finished(empty=not decoded.strip())


def _decoded(text: str | bytes, limits: Limits) -> str:
    size = len(text)
    if size <= limits.bytes and isinstance(text, str) and not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise UnreadableTextError("manifest.syntax", "the text is not Unicode") from error
    if size > limits.bytes:
        reason = f"larger than {limits.bytes} bytes"
        raise UnreadableTextError("manifest.too-large", reason)
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UnreadableTextError("manifest.syntax", "the text is not UTF-8", line) from error


def _plain_documents(
    text: str, file: str | None, limits: Limits
) -> Generator[None, None, tuple[PlainDocument, ...]]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return (yield from read_json(text, limits))
        except UnreadableTextError as error:
            if (file or "").endswith(".json") or error.code != "manifest.syntax":
                raise
    return (yield from read_yaml(text, limits))


class _Collector:
    """Gathers what the documents of one text give."""

    def __init__(self, file: str | None, limits: Limits, system_namespace: str) -> None:
        self._file = file
        self._limits = limits
        self._system_namespace = system_namespace
        self._documents: list[Document] = []
        self._problems: list[Problem] = []
        self._skipped: set[str] = set()
        self._refused: list[Identity | None] = []

    def items(self, document: PlainDocument) -> Generator[tuple[PlainDocument, Any, Path]]:
        """Return the objects of a document with their place: itself, or the items of a List."""
        value = document.value
        items = value.get("items") if isinstance(value, dict) else None
        kind = value.get("kind") if isinstance(value, dict) else None
        is_list = isinstance(kind, str) and kind.endswith("List") and "items" in value
        if not is_list or not isinstance(items, list | None):
            yield document, value, ()
            return
        outside = [fault for fault in document.faults if len(fault.path) < 2]
        if outside:
            self._refuse(document, value, outside[0])
            return
        implied = {"apiVersion": value.get("apiVersion"), "kind": str(kind).removesuffix("List")}
        for index, item in enumerate(items or ()):
            if isinstance(item, dict) and implied["kind"] and "kind" not in item:
                item = {**implied, **item}  # noqa: PLW2901 - the item as the API server means it
            yield document, item, ("items", index)

    def read(self, document: PlainDocument, value: Any, place: Path) -> None:
        if value is None and not place:
            return
        faults = [fault for fault in document.faults if fault.path[: len(place)] == place]
        if faults:
            self._refuse(document, value, faults[0], place)
            return
        try:
            found = (
                _mesh_config(value)
                if self._is_mesh_config(value)
                else read_or_refuse(value, self._limits, self._system_namespace)
            )
        except RefusedFieldError as error:
            line = document.line_of((*place, *error.path))
            self._record(value, error.reason, field_path(error.path) or None, line)
            return
        if found is not None:
            self._documents.append(Document(manifest=found, line=document.line_of(place)))
            return
        group, _, kind = type_of(value)
        if (group, kind) != ("", "ConfigMap"):
            self._skipped.add(f"{kind}.{group}" if group else kind)

    def finished(self, *, empty: bool) -> Reading:
        return Reading(
            documents=tuple(self._documents),
            problems=tuple(self._problems),
            skipped=tuple(sorted(self._skipped)),
            refused=tuple(self._refused),
            empty=empty,
        )

    def _is_mesh_config(self, value: Any) -> bool:
        return (
            self._file is not None
            and PurePath(self._file).name in MESH_CONFIG_FILES
            and not (isinstance(value, dict) and "kind" in value)
        )

    def _refuse(self, document: PlainDocument, value: Any, fault: Fault, place: Path = ()) -> None:
        line = fault.line or document.line_of(fault.path)
        self._record(value, fault.reason, field_path(fault.path[len(place) :]) or None, line)

    def _record(self, value: Any, reason: str, field: str | None, line: int) -> None:
        identity = MESH_CONFIG if self._is_mesh_config(value) else readable_identity(value)
        self._refused.append(kept_identity(identity, self._system_namespace))
        self._problems.append(
            Problem(
                severity=Severity.ERROR,
                code="manifest.invalid",
                message=reason,
                object=identity.reference if identity else None,
                file=self._file,
                line=line,
                field=field,
            )
        )


def _mesh_config(value: Any) -> MeshConfig:
    if not isinstance(value, dict):
        raise RefusedFieldError((), f"expected an object, got {type_name(value)}")
    return read_mesh_config(value)
