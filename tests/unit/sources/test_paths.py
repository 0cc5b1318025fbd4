"""Reading files and folders once."""

from pathlib import Path

from controlplane.manifests.reading import identity_of
from controlplane.sources.paths import read_paths
from tests.support.sources import pod, policy


def test_files_and_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.yaml").write_text(pod("b") + pod("a"))
    (folder / "ignored.txt").write_text(pod("c"))
    single = tmp_path / "single.conf"
    single.write_text(policy("p") + pod("a", "other1"))
    loaded = read_paths([folder, str(single), tmp_path / "nothing"])
    assert [str(identity_of(m).key) for m, _ in loaded.objects] == [
        "default/p",
        "default/a",
        "default/b",
    ]
    assert [(p.code, p.file) for p in loaded.problems] == [
        ("files.missing", str(tmp_path / "nothing")),
        ("files.duplicate-object", str(single)),
    ]
    assert loaded.objects[1][1].file == str(folder / "sub" / "a.yaml")
    assert loaded.objects[1][1].line == 5


def test_problems_do_not_hide_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [")
    (tmp_path / "b.yaml").write_text(pod("b") + "apiVersion: v9\nkind: Odd\n")
    (tmp_path / "c.yaml").symlink_to("gone")
    loaded = read_paths([tmp_path])
    assert len(loaded.objects) == 1
    assert [p.code for p in loaded.problems] == [
        "manifest.unknown-kind",
        "manifest.syntax",
        "files.unreadable-file",
    ]
