"""What every source promises (docs/protocol/files.md), shown for each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.reading import MESH_CONFIG, Identity
from controlplane.model.names import Name
from tests.conformance.sources.rigs import (
    FilesRig,
    MemoryRig,
    Rig,
    Running,
    kubernetes_rig,
)
from tests.support.sources import RecordingSink, pod, policy

A = Identity("Pod", Name("default", "a"))
MESH = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    "data: {mesh: 'trustDomain: td1'}\n"
)


@pytest.fixture(params=["files", "memory", "kubernetes"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "kubernetes":
        async with kubernetes_rig() as rig:
            yield rig
    else:
        yield FilesRig(tmp_path) if request.param == "files" else MemoryRig()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.mark.proves("FS-1")
async def test_what_exists_is_put_before_synced(rig: Rig, sink: RecordingSink) -> None:
    rig.put("a", pod("a"))
    rig.put("p", policy("p"))
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        assert sink.names() == ["AuthorizationPolicy default/p", "Pod default/a"]
        assert sink.calls[-1] == ("synced", None)


@pytest.mark.refutes("FS-1")
async def test_synced_is_said_once(rig: Rig, sink: RecordingSink) -> None:
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        rig.put("a", pod("a"))
        await sink.until(lambda s: s.names() == ["Pod default/a"])
    assert sink.synced_times == 1


@pytest.mark.proves("FS-2")
async def test_changes_arrive(rig: Rig, sink: RecordingSink) -> None:
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        rig.put("a", pod("a"))
        await sink.until(lambda s: A in s.objects)
        first = sink.objects[A][0]
        rig.put("a", pod("a", "y1"))
        await sink.until(lambda s: s.objects[A][0] != first)
        rig.put("b", pod("b"))
        rig.remove("a", A)
        await sink.until(lambda s: s.names() == ["Pod default/b"])


@pytest.mark.proves("FS-2")
async def test_the_mesh_configuration_is_an_object_like_others(
    rig: Rig, sink: RecordingSink
) -> None:
    async with Running(rig.source, sink):
        rig.put("mesh", MESH)
        await sink.until(lambda s: MESH_CONFIG in s.objects)
        assert sink.objects[MESH_CONFIG][0] == MeshConfig(trust_domain="td1")
        rig.remove("mesh", MESH_CONFIG)
        await sink.until(lambda s: not s.objects)


@pytest.mark.refutes("FS-2")
async def test_what_did_not_change_is_not_told(rig: Rig, sink: RecordingSink) -> None:
    rig.put("a", pod("a"))
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        rig.put("b", pod("b"))
        await sink.until(lambda s: len(s.objects) == 2)
    assert sink.calls.count(("put", "default/a")) == 1


@pytest.mark.proves("FS-8")
async def test_a_watched_folder_goes_and_comes_back(tmp_path: Path, sink: RecordingSink) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    rig = FilesRig(folder)
    rig.put("a", pod("a"))
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        folder.rename(tmp_path / "away")
        await sink.until(lambda s: s.codes() == ["files.missing"])
        assert sink.names() == ["Pod default/a"]
        (tmp_path / "away").rename(folder)
        await sink.until(lambda s: s.codes() == [])
        rig.put("b", pod("b"))
        await sink.until(lambda s: s.names() == ["Pod default/a", "Pod default/b"])


@pytest.mark.proves("FS-6", "FS-9")
async def test_new_folders_are_watched_too(tmp_path: Path, sink: RecordingSink) -> None:
    rig = FilesRig(tmp_path)
    async with Running(rig.source, sink):
        await sink.until(lambda s: s.synced_times == 1)
        (tmp_path / "x" / "y").mkdir(parents=True)
        (tmp_path / "x" / "y" / "a.yaml").write_text(pod("a"))
        await sink.until(lambda s: A in s.objects)
        (tmp_path / "x" / "y" / "a.yaml").unlink()
        await sink.until(lambda s: A not in s.objects)
