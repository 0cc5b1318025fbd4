"""The watched folder, look by look."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.manifests.core import Pod
from controlplane.manifests.documents import Limits
from controlplane.sources.files import FilesSettings, FilesSource
from tests.support.sources import RecordingSink, pod, policy


class Folder:
    """A folder, a source that looks at it when told, and what it said."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        self.sink = RecordingSink()
        self.source = FilesSource(root, settings=FilesSettings(**settings))  # type: ignore[arg-type] # settings of the test

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    async def look(self) -> list[str]:
        self.sink.calls.clear()
        await self.source.scan(self.sink)
        return self.sink.names()

    def label(self, name: str) -> str:
        (found,) = [m for i, (m, _) in self.sink.objects.items() if i.key.name == name]
        assert isinstance(found, Pod)
        return found.metadata.labels["l"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "mesh"
    root.mkdir()
    return Folder(root)


@pytest.mark.proves("FS-1")
async def test_everything_is_put_and_then_synced(folder: Folder) -> None:
    folder.write("b.yaml", pod("b"))
    folder.write(
        "deep/er/a.json", '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}'
    )
    assert await folder.look() == ["Node /a", "Pod default/b"]
    assert folder.sink.calls[-1] == ("synced", None)
    await folder.look()
    assert folder.sink.synced_times == 1


@pytest.mark.refutes("FS-1")
async def test_a_folder_that_is_not_there_is_not_synced(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "later")
    assert await folder.look() == []
    assert folder.sink.synced_times == 0
    assert folder.sink.codes() == ["files.missing"]
    folder.root.mkdir()
    assert await folder.look() == []
    assert (folder.sink.synced_times, folder.sink.codes()) == (1, [])


@pytest.mark.proves("FS-2")
async def test_edits_are_told_once(folder: Folder) -> None:
    folder.write("a.yaml", pod("a") + pod("b"))
    await folder.look()
    folder.write("a.yaml", pod("a") + pod("b", "y1"))
    await folder.look()
    assert folder.sink.calls == [("put", "default/b")]
    assert folder.label("b") == "y1"
    folder.write("c.yml", pod("c"))
    await folder.look()
    assert folder.sink.calls == [("put", "default/c")]
    folder.write("a.yaml", pod("b", "y1"))
    await folder.look()
    assert ("remove", "default/a") in folder.sink.calls


@pytest.mark.refutes("FS-2")
async def test_nothing_new_is_nothing_told(folder: Folder) -> None:
    path = folder.write("a.yaml", pod("a"))
    await folder.look()
    await folder.look()
    assert folder.sink.calls == []
    folder.write("b.yaml.new", pod("a"))
    (folder.root / "b.yaml.new").replace(path)  # replaced atomically by the same content
    os.utime(path, (1, 1))
    await folder.look()
    assert folder.sink.calls == []


async def test_an_old_file_replaced_atomically_is_read_again(folder: Folder) -> None:
    path = folder.write("a.yaml", pod("a"))
    os.utime(path, (1, 1))
    await folder.look()
    new = folder.write(".a.yaml.swp", pod("a", "y1"))
    new.replace(path)
    os.utime(path, (1, 1))
    await folder.look()
    assert folder.label("a") == "y1"


@pytest.mark.proves("FS-3")
@pytest.mark.parametrize(
    "broken", [pod("a", "z1") + "kind: [", pod("a", "z1") + "# " * 500, b"\xff"]
)
async def test_a_broken_file_keeps_its_objects(tmp_path: Path, broken: str | bytes) -> None:
    folder = Folder(tmp_path, limits=Limits(bytes=900))
    folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", pod("b"))
    await folder.look()
    folder.write("a.yaml", broken)
    folder.write("b.yaml", pod("b", "y1"))
    await folder.look()
    assert (folder.label("a"), folder.label("b")) == ("x1", "y1")
    ((problem,),) = folder.sink.found.values()
    assert "stays in force" in problem.message
    assert problem.file == str(folder.root / "a.yaml")
    folder.write("a.yaml", pod("a", "w1"))
    await folder.look()
    assert (folder.label("a"), folder.sink.found) == ("w1", {})


@pytest.mark.refutes("FS-3")
async def test_a_broken_new_file_has_nothing_to_keep(folder: Folder) -> None:
    folder.write("a.yaml", pod("a") + "kind: [")
    folder.write("b.yaml", pod("b"))
    assert await folder.look() == ["Pod default/b"]
    ((problem,),) = folder.sink.found.values()
    assert "stays in force" not in problem.message
    assert folder.sink.synced_times == 1


@pytest.mark.proves("FS-4")
async def test_a_refused_object_keeps_its_own_version(folder: Folder) -> None:
    folder.write("a.yaml", policy("p", "{action: DENY, rules: [{}]}") + pod("a") + pod("b"))
    await folder.look()
    folder.write("a.yaml", policy("p", "{action: deny}") + pod("a", "y1"))
    assert await folder.look() == ["AuthorizationPolicy default/p", "Pod default/a"]
    assert folder.label("a") == "y1"
    assert folder.sink.codes() == ["manifest.invalid"]
    ((problem,),) = folder.sink.found.values()
    assert problem.message.endswith("the last good version stays in force")


@pytest.mark.refutes("FS-4")
async def test_an_object_no_longer_there_is_removed(folder: Folder) -> None:
    folder.write("a.yaml", policy("p") + policy("q"))
    await folder.look()
    folder.write("a.yaml", policy("q", "{action: deny}"))
    assert await folder.look() == ["AuthorizationPolicy default/q"]


@pytest.mark.proves("FS-5")
async def test_a_refusal_without_a_name_removes_nothing(folder: Folder) -> None:
    folder.write("a.yaml", policy("p") + pod("a"))
    await folder.look()
    folder.write("a.yaml", policy("7") + pod("b"))
    assert await folder.look() == [
        "AuthorizationPolicy default/p",
        "Pod default/a",
        "Pod default/b",
    ]


@pytest.mark.refutes("FS-5")
async def test_a_refusal_in_another_file_does_not_matter(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", policy("p"))
    await folder.look()
    folder.write("a.yaml", pod("b"))
    folder.write("b.yaml", policy("7"))
    assert await folder.look() == ["AuthorizationPolicy default/p", "Pod default/b"]


@pytest.mark.proves("FS-6")
async def test_removing_a_file_removes_its_objects(folder: Folder) -> None:
    path = folder.write("a.yaml", pod("a") + "kind: Pod\n")
    folder.write("b.yaml", pod("b"))
    await folder.look()
    path.unlink()
    assert await folder.look() == ["Pod default/b"]
    assert folder.sink.found == {}


@pytest.mark.refutes("FS-6")
async def test_renaming_a_file_keeps_its_objects(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    await folder.look()
    (folder.root / "a.yaml").rename(folder.root / "z.yaml")
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.calls == [("put", "default/a")]
    assert folder.sink.file_of("a") == "z.yaml"


@pytest.mark.proves("FS-7")
async def test_the_smallest_path_wins(folder: Folder) -> None:
    folder.write("b.yaml", pod("a", "b1"))
    await folder.look()
    first = folder.write("a.yaml", pod("a", "a1") + pod("a", "a2"))
    await folder.look()
    assert folder.label("a") == "a1"
    assert folder.sink.codes() == ["files.duplicate-object"] * 2
    first.unlink()
    await folder.look()
    assert (folder.label("a"), folder.sink.found) == ("b1", {})


@pytest.mark.refutes("FS-7")
async def test_different_objects_do_not_clash(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", pod("a").replace("{name: a", "{namespace: other, name: a"))
    folder.write("c.yaml", policy("a"))
    assert len(await folder.look()) == 3
    assert folder.sink.found == {}


@pytest.mark.proves("FS-8")
async def test_a_vanished_folder_keeps_everything(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    await folder.look()
    shutil.rmtree(folder.root)
    assert await folder.look() == ["Pod default/a"]
    ((problem,),) = folder.sink.found.values()
    assert (problem.code, "kept" in problem.message) == ("files.missing", True)
    folder.root.mkdir()
    folder.write("b.yaml", pod("b"))
    assert await folder.look() == ["Pod default/b"]
    assert folder.sink.found == {}


@pytest.mark.refutes("FS-8")
async def test_a_vanished_subfolder_takes_its_objects_along(folder: Folder) -> None:
    folder.write("sub/a.yaml", pod("a"))
    folder.write("b.yaml", pod("b"))
    await folder.look()
    shutil.rmtree(folder.root / "sub")
    assert await folder.look() == ["Pod default/b"]


@pytest.mark.proves("FS-9")
async def test_three_suffixes_in_all_folders_are_read(folder: Folder) -> None:
    for name in ("a.yaml", "x/b.yml", "x/y/c.json"):
        folder.write(name, pod(Path(name).stem))
    assert len(await folder.look()) == 3


@pytest.mark.refutes("FS-9")
async def test_other_files_are_not_read(folder: Folder) -> None:
    for name in (".a.yaml", ".x/b.yaml", "c.txt", "yaml", "d.yaml~", "e.yaml.swp", "README.md"):
        folder.write(name, pod("a"))
    assert await folder.look() == []
    assert folder.sink.found == {}


@pytest.mark.proves("FS-10")
async def test_a_mounted_config_map_is_followed(folder: Folder) -> None:
    folder.write("..one/a.yaml", pod("a"))
    (folder.root / "..data").symlink_to("..one")
    (folder.root / "a.yaml").symlink_to("..data/a.yaml")
    assert await folder.look() == ["Pod default/a"]
    folder.write("..two/a.yaml", pod("a", "y1"))
    (folder.root / "..tmp").symlink_to("..two")
    (folder.root / "..tmp").replace(folder.root / "..data")
    await folder.look()
    assert folder.label("a") == "y1"


@pytest.mark.refutes("FS-10")
async def test_links_in_a_circle_are_read_once(folder: Folder, tmp_path: Path) -> None:
    folder.write("sub/a.yaml", pod("a"))
    (folder.root / "sub" / "loop").symlink_to(folder.root)
    (folder.root / "again").symlink_to(folder.root / "sub")
    (folder.root / "self.yaml").symlink_to("self.yaml")
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.codes() == ["files.unreadable-file"]
    assert folder.sink.file_of("a") == "a.yaml"


@pytest.mark.proves("FS-11")
async def test_an_emptied_file_keeps_its_objects(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    await folder.look()
    folder.write("a.yaml", "\n")
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.codes() == ["files.empty-file"]


@pytest.mark.refutes("FS-11")
async def test_a_comment_empties_a_file(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", "")
    await folder.look()
    folder.write("a.yaml", "# nothing any more\n")
    assert await folder.look() == []
    assert folder.sink.found == {}


@pytest.mark.proves("FS-12")
async def test_what_cannot_be_read_keeps_its_objects(folder: Folder) -> None:
    path = folder.write("a.yaml", pod("a"))
    await folder.look()
    path.unlink()
    path.symlink_to("nowhere.yaml")
    os.mkfifo(folder.root / "pipe.yaml")
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.codes() == ["files.unreadable-file"] * 2
    path.unlink()
    folder.write("a.yaml", pod("a"))
    (folder.root / "pipe.yaml").unlink()
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.found == {}


@pytest.mark.proves("FS-12")
async def test_a_folder_that_cannot_be_listed_keeps_its_objects(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("sub/a.yaml", pod("a"))
    folder.write("b.yaml", pod("b"))
    await folder.look()
    listing = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        assert await folder.look() == ["Pod default/a", "Pod default/b"]
        assert folder.sink.codes() == ["files.unreadable-folder"]
    await folder.look()
    assert folder.sink.found == {}


@pytest.mark.proves("FS-12")
async def test_a_name_that_is_not_text_is_a_problem(folder: Folder) -> None:
    odd = os.path.join(os.fsencode(folder.root), b"\xff.yaml")  # noqa: PTH118 - bytes on purpose
    try:
        os.close(os.open(odd, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes no such names")
    folder.write("a.yaml", pod("a"))
    assert await folder.look() == ["Pod default/a"]
    assert folder.sink.codes() == ["files.unreadable-name"]


@pytest.mark.refutes("FS-12")
async def test_an_ordinary_file_is_no_problem(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    await folder.look()
    assert folder.sink.found == {}


@pytest.mark.proves("FS-14")
async def test_unknown_kinds_are_noted_once(folder: Folder) -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n---\n"
    paths = [folder.write(f"{name}.yaml", job + job) for name in "abc"]
    await folder.look()
    assert folder.sink.codes() == ["manifest.unknown-kind"]
    assert list(folder.sink.found) == [str(folder.root)]
    for path in paths:
        assert folder.sink.codes() == ["manifest.unknown-kind"]
        path.unlink()
        await folder.look()
    assert folder.sink.codes() == []


@pytest.mark.refutes("FS-14")
async def test_known_kinds_are_not_noted(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    await folder.look()
    assert folder.sink.codes() == []


class DeletingClock:
    """A clock that goes on deleting whenever the source waits."""

    def __init__(self, folder: Folder, *, deletes: bool) -> None:
        self._folder = folder
        self._deletes = deletes
        self.waits = 0
        self.now = folder.source._clock.now
        self.monotonic = folder.source._clock.monotonic

    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        if self._deletes:
            shutil.rmtree(self._folder.root)
        else:
            self._folder.write("a.yaml", pod("a", "y1"))


@pytest.mark.proves("FS-15")
@pytest.mark.parametrize("deletes", [True, False])
async def test_a_deletion_under_way_takes_nothing_away(folder: Folder, deletes: bool) -> None:
    path = folder.write("a.yaml", pod("a"))
    folder.write("b.yaml", pod("b"))
    await folder.look()
    path.unlink()
    clock = DeletingClock(folder, deletes=deletes)
    folder.source._clock = clock
    assert await folder.look() == ["Pod default/a", "Pod default/b"]
    assert clock.waits == 1
    assert ("remove", "default/a") not in folder.sink.calls


@pytest.mark.refutes("FS-15")
async def test_a_file_that_stays_gone_is_gone(folder: Folder) -> None:
    path = folder.write("a.yaml", pod("a"))
    await folder.look()
    path.unlink()
    assert await folder.look() == []


@pytest.mark.proves("FS-13")
async def test_one_look_is_told_without_pause(folder: Folder) -> None:
    folder.source._settings = FilesSettings(slice_seconds=0.0)
    for number in range(20):
        folder.write(f"{number}.yaml", pod(f"p{number}") + policy(f"q{number}"))
    turns = []
    running = True

    async def watch_turns() -> None:
        while running:
            turns.append(len(folder.sink.objects))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch_turns())
    await folder.look()
    running = False
    await watching
    assert len(turns) > 20, "the loop breathed while the folder was read"
    assert set(turns) <= {0, 40}


@pytest.mark.refutes("FS-13")
async def test_two_looks_are_told_apart(folder: Folder) -> None:
    folder.write("a.yaml", pod("a"))
    assert await folder.look() == ["Pod default/a"]
    folder.write("b.yaml", policy("b"))
    assert len(await folder.look()) == 2


async def test_hints_lead_to_looks(folder: Folder) -> None:
    hints: asyncio.Queue[str] = asyncio.Queue()

    async def watch(root: Path, seconds: float) -> AsyncIterator[None]:
        while await hints.get() != "end":
            yield

    source = FilesSource(folder.root, settings=FilesSettings(poll_seconds=0.01), watch=watch)
    sink = folder.sink
    running = asyncio.ensure_future(source.run(sink))
    await sink.until(lambda s: s.synced_times == 1)
    folder.write("a.yaml", pod("a"))
    hints.put_nowait("changed")
    await sink.until(lambda s: s.names() == ["Pod default/a"])
    folder.write("b.yaml", pod("b"))
    hints.put_nowait("end")  # a watch that ends is begun again, with a look
    await sink.until(lambda s: len(s.names()) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
