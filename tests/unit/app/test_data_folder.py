import stat
from pathlib import Path

import pytest

from controlplane.app.data_folder import held_data_folder
from controlplane.app.errors import StartupError


def test_one_process_at_a_time_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        held_data_folder(folder),
        pytest.raises(StartupError, match="another process uses"),
        held_data_folder(folder),
    ):
        raise AssertionError
    with held_data_folder(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="file/data"), held_data_folder(tmp_path / "file/data"):
        raise AssertionError
