"""The same objects make the same mesh, whichever source they come from.

The examples and every pair of ``conformance/ambient`` are told to all three sources, step by step;
what is served must be equal, names and versions. Nothing is expanded: a cluster expands for itself.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane.manifests.reading import MESH_CONFIG, Identity, identity_of, read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from controlplane.pipeline.compilation import compile_manifests
from tests.conformance.sources.rigs import FilesRig, MemoryRig, Rig, kubernetes_rig
from tests.support.ambient import read_pair
from tests.support.kubernetes_mesh import FedMesh, Versions, a_mesh, versions_of

ROOT: Final = Path(__file__).parents[3]
BOOKINFO: Final = sorted((ROOT / "examples" / "bookinfo").glob("*.yaml"))
AMBIENT: Final = sorted(
    path
    for path in (ROOT / "tests" / "conformance" / "ambient").glob("*.yaml")
    if not path.name.endswith(".expected.yaml")
)
_STEP: Final = re.compile(r"^# step:.*$", re.MULTILINE)
_DELETE: Final = re.compile(r"^# delete:\s*(\S+)\s+(?:(\S+)/)?(\S+)\s*$", re.MULTILINE)
_CLUSTER_WIDE: Final = {"GatewayClass", "Namespace", "Node"}
_OLD: Final = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Step:
    """Documents to put and identities to remove."""

    put: tuple[dict[str, Any], ...]
    removed: tuple[Identity, ...]


def steps_of(text: str) -> tuple[Step, ...]:
    return tuple(
        Step(
            put=tuple(map(_dated, filter(None, yaml.safe_load_all(part)))),
            removed=tuple(
                Identity(kind, Name(namespace or "", name))
                for kind, namespace, name in _DELETE.findall(part)
            ),
        )
        for part in _STEP.split(text)
    )


def _text(*paths: Path) -> str:
    return "\n---\n".join(path.read_text() for path in paths)


def _dated(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the age that a cluster would give it, the same for all."""
    if "kind" not in document:
        metadata = {"name": "istio", "namespace": "istio-system"}
        data = {"mesh": yaml.safe_dump(document)}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    metadata = {"creationTimestamp": _OLD, **document["metadata"]}
    return {**document, "metadata": metadata}


@contextlib.asynccontextmanager
async def all_rigs(folder: Path, settings: MeshSettings) -> AsyncIterator[dict[str, Any]]:
    async with contextlib.AsyncExitStack() as stack:
        rigs: dict[str, Rig] = {
            "memory": MemoryRig(),
            "files": FilesRig(folder),
            "kubernetes": await stack.enter_async_context(kubernetes_rig()),
        }
        yield {
            name: (rig, await stack.enter_async_context(a_mesh(rig.source, settings)))
            for name, rig in rigs.items()
        }


def tell(rig: Rig, step: Step) -> None:
    for identity in step.removed:
        rig.remove(_file(identity.kind, identity.key.namespace, identity.key.name), identity)
    for document in step.put:
        kind, metadata = document["kind"], document["metadata"]
        default = "" if kind in _CLUSTER_WIDE else "default"
        namespace = metadata.get("namespace", default)
        rig.put(_file(kind, namespace, metadata["name"]), yaml.safe_dump(document))


def _file(kind: str, namespace: str, name: str) -> str:
    if kind == MESH_CONFIG.kind:
        kind, namespace, name = "ConfigMap", "istio-system", "istio"
    return f"{kind}.{namespace}.{name}".lower()


async def compare(folder: Path, settings: MeshSettings, steps: tuple[Step, ...]) -> int:
    """Return how many resources there ever were, after all sources came to each of them."""
    held = {}
    seen = 0
    async with all_rigs(folder, settings) as told:
        for step in steps:
            for identity in step.removed:
                del held[identity]
            for each in read_documents(yaml.safe_dump_all(step.put)).documents:
                held[identity_of(each.manifest)] = each.manifest
            compiled = compile_manifests(((each, None) for each in held.values()), settings)
            expected = versions_of(compiled.addresses()), versions_of(compiled.authorizations())
            seen += sum(map(len, expected))
            for rig, mesh in told.values():
                tell(rig, step)
                await _becomes(mesh, expected)
        for _, mesh in told.values():
            await mesh.ready()
    return seen


async def _becomes(mesh: FedMesh, expected: Versions) -> None:
    await mesh.until(lambda: mesh.versions() == expected)


def _run(documents: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    """Yield the documents with what a cluster makes of them: addresses, and pods of templates."""
    for number, document in enumerate(documents):
        spec = document.get("spec", {})
        if document["kind"] == "Service" and spec.get("clusterIP") != "None":
            ip = f"10.96.0.{number}"
            yield {**document, "spec": {**spec, "clusterIP": ip, "clusterIPs": [ip]}}
        else:
            yield document
        if document["kind"] in ("DaemonSet", "Deployment"):
            yield _a_pod_of(document, f"10.1.0.{number}")


def _a_pod_of(template: dict[str, Any], ip: str) -> dict[str, Any]:
    metadata, spec = template["metadata"], template["spec"]["template"]["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-1",
            "namespace": metadata.get("namespace", "default"),
            "labels": template["spec"]["template"]["metadata"]["labels"],
            "annotations": {"ambient.istio.io/redirection": "enabled"},
            "creationTimestamp": _OLD,
        },
        "spec": {**spec, "nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


@pytest.mark.proves("FS-1", "FS-2")
@pytest.mark.parametrize("path", AMBIENT, ids=lambda path: path.stem)
async def test_a_pair_makes_the_same_mesh(path: Path, tmp_path: Path) -> None:
    pair, steps = read_pair(path), steps_of(_text(path))
    assert await compare(tmp_path, replace(pair.settings, expands=False), steps) > 0


@pytest.mark.proves("FS-1")
async def test_the_examples_make_the_same_mesh(tmp_path: Path) -> None:
    (step,) = steps_of(_text(*BOOKINFO))
    in_a_cluster = replace(step, put=tuple(_run(step.put)))
    assert await compare(tmp_path, MeshSettings(), (in_a_cluster,)) > 10


def test_the_pairs_say_what_their_documents_are() -> None:
    for path in AMBIENT:
        documents = [each for step in steps_of(_text(path)) for each in step.put]
        assert documents
        assert read_documents(yaml.safe_dump_all(documents)).readable
