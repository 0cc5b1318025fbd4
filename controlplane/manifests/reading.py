"""The one reader: text or objects -> typed manifests, Problems and the kinds nobody reads.

Text of a file comes in through ``read_documents`` (or ``read_steps``, in slices); one object of
any other origin through ``read_object``. Sources hand the manifests to the graph's inputs and show
the Problems. Rules: docs/protocol/manifests.md.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from controlplane.manifests.documents import Fault, Limits, Path, PlainDocument, field_path
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_fields import RefusedFieldError, convert, type_name
from controlplane.manifests.read_json import read_json
from controlplane.manifests.read_kinds import KINDS, SECURITY
from controlplane.manifests.read_mesh_config import read_mesh_config, read_mesh_config_text
from controlplane.manifests.read_metadata import checked_names, read_metadata
from controlplane.manifests.read_yaml import read_yaml
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity

SYSTEM_NAMESPACE: Final = "istio-system"
MESH_CONFIG_FILES: Final = frozenset({"meshconfig.yaml", "meshconfig.yml", "meshconfig.json"})
_MESH_CONFIG_MAP: Final = "istio"
_MESH_KEY: Final = "mesh"
_DEFAULT_LIMITS: Final = Limits()


class Identity(NamedTuple):
    """Which object: its kind and key. Two objects of one identity exclude each other."""

    kind: str
    key: Name

    @property
    def reference(self) -> ObjectReference:
        """Return how users name the object."""
        return ObjectReference(self.kind, self.key.namespace, self.key.name)


MESH_CONFIG: Final = Identity("MeshConfig", Name("", "mesh"))
"""The one mesh configuration, wherever it is written."""


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


def identity_of(manifest: Manifest | MeshConfig) -> Identity:
    """Return which object ``manifest`` is."""
    if isinstance(manifest, MeshConfig):
        return MESH_CONFIG
    return Identity(manifest.kind, manifest.key)


def unknown_kind_note(kind: str) -> Problem:
    """Return the one note about objects of a kind nobody reads."""
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


def read_object(
    value: Any,
    file: str | None = None,
    line: int | None = None,
    *,
    system_namespace: str = SYSTEM_NAMESPACE,
    limits: Limits = _DEFAULT_LIMITS,
) -> Manifest | MeshConfig | Problem | None:
    """Return the manifest ``value`` describes, a Problem that says why it does not, or None.

    None means that nobody reads this kind (or this ConfigMap). ``value`` is a JSON object with
    ``apiVersion`` and ``kind``; ``file`` and ``line`` go into the Problem.
    """
    try:
        return _read(value, limits, system_namespace)
    except RefusedFieldError as error:
        identity = _identity(value)
        return Problem(
            severity=Severity.ERROR,
            code="manifest.invalid",
            message=error.reason,
            object=identity.reference if identity else None,
            file=file,
            line=line,
            field=field_path(error.path) or None,
        )


def _read(value: Any, limits: Limits, system_namespace: str) -> Manifest | MeshConfig | None:
    group, version, kind = _type_of(value)
    if (group, kind) == ("", "ConfigMap"):
        return _read_config_map(value, limits, system_namespace)
    row = KINDS.get((group, kind))
    if row is None:
        if group == SECURITY:
            raise RefusedFieldError(("kind",), f"{kind!r} is no kind of {group}")
        if (SECURITY, kind) in KINDS and (not group or "istio" in group):
            raise RefusedFieldError(("apiVersion",), f"{kind} belongs to group {SECURITY}")
        return None
    if version not in row.versions:
        known = ", ".join(row.versions)
        reason = f"{version!r} is no known version of {kind} (known: {known})"
        raise RefusedFieldError(("apiVersion",), reason)
    raw = convert(value, row.raw)
    return row.read(raw, read_metadata(raw.metadata, namespaced=row.namespaced))


def _type_of(value: Any) -> tuple[str, str, str]:
    """Return API group, version and kind; raises RefusedFieldError."""
    if not isinstance(value, Mapping):
        raise RefusedFieldError((), f"expected an object, got {type_name(value)}")
    texts = []
    for name in ("kind", "apiVersion"):
        text = value.get(name)
        if not isinstance(text, str) or not text:
            reason = (
                "the field is required" if not text else f"expected text, got {type_name(text)}"
            )
            raise RefusedFieldError((name,), reason)
        texts.append(text)
    group, _, version = texts[1].rpartition("/")
    return group, version, texts[0]


def _read_config_map(
    value: Mapping[str, Any], limits: Limits, system_namespace: str
) -> MeshConfig | None:
    identity = _identity(value)
    if identity is None or identity.key != Name(system_namespace, _MESH_CONFIG_MAP):
        return None
    data = value.get("data")
    text = data.get(_MESH_KEY) if isinstance(data, Mapping) else None
    path: Path = ("data", _MESH_KEY)
    if not isinstance(text, str):
        raise RefusedFieldError(path, f"expected text, got {type_name(text)}")
    try:
        return read_mesh_config_text(text, limits)
    except RefusedFieldError as error:
        inner = f"{field_path(error.path)}: " if error.path else ""
        raise RefusedFieldError(path, f"{inner}{error.reason}") from error


def _identity(value: Any) -> Identity | None:
    """Return which object ``value`` means to be, None when that cannot be told."""
    try:
        group, _, kind = _type_of(value)
        metadata = value.get("metadata")
        if not isinstance(metadata, Mapping):
            return None
        row = KINDS.get((group, kind))
        name, namespace = checked_names(
            metadata.get("name"),
            metadata.get("namespace"),
            namespaced=row is None or row.namespaced,
        )
    except RefusedFieldError:
        return None
    return Identity(kind, Name(namespace, name))


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
        line = document.line_of(place)
        if self._is_mesh_config(value):
            self._read_mesh_config(document, value, line)
            return
        found = read_object(
            value,
            self._file,
            line,
            system_namespace=self._system_namespace,
            limits=self._limits,
        )
        if found is None:
            group, _, kind = _type_of(value)
            if (group, kind) != ("", "ConfigMap"):
                self._skipped.add(f"{kind}.{group}" if group else kind)
        elif isinstance(found, Problem):
            self._refuse_field(document, value, found, place)
        else:
            self._documents.append(Document(manifest=found, line=line))

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

    def _read_mesh_config(self, document: PlainDocument, value: Any, line: int) -> None:
        try:
            if not isinstance(value, dict):
                raise RefusedFieldError((), f"expected an object, got {type_name(value)}")  # noqa: TRY301 - one way out for every refusal
            self._documents.append(Document(manifest=read_mesh_config(value), line=line))
        except RefusedFieldError as error:
            self._refused.append(MESH_CONFIG)
            self._problems.append(
                Problem(
                    severity=Severity.ERROR,
                    code="manifest.invalid",
                    message=error.reason,
                    object=MESH_CONFIG.reference,
                    file=self._file,
                    line=document.line_of(error.path),
                    field=field_path(error.path) or None,
                )
            )

    def _refuse_field(
        self, document: PlainDocument, value: Any, problem: Problem, place: Path
    ) -> None:
        """Record a refusal, with the line of the field rather than of the object."""
        try:
            _read(value, self._limits, self._system_namespace)
        except RefusedFieldError as error:
            line = document.line_of((*place, *error.path))
            self._record(value, problem.message, problem.field, line)

    def _refuse(self, document: PlainDocument, value: Any, fault: Fault, place: Path = ()) -> None:
        line = fault.line or document.line_of(fault.path)
        self._record(value, fault.reason, field_path(fault.path[len(place) :]) or None, line)

    def _record(self, value: Any, reason: str, field: str | None, line: int) -> None:
        identity = MESH_CONFIG if self._is_mesh_config(value) else _identity(value)
        self._refused.append(_kept_identity(identity, self._system_namespace))
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


def _kept_identity(identity: Identity | None, system_namespace: str) -> Identity | None:
    """Return whose last good version a refusal protects."""
    config_map = Identity("ConfigMap", Name(system_namespace, _MESH_CONFIG_MAP))
    return MESH_CONFIG if identity == config_map else identity
