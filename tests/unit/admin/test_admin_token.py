"""The file with the admin token."""

import stat
from pathlib import Path

import pytest

from controlplane.admin.admin_token import FILE_NAME, AdminTokenError, load_admin_token


@pytest.mark.proves("AM-6")
def test_it_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    token = load_admin_token(tmp_path)
    assert len(token) >= 40
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert load_admin_token(tmp_path) == token
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.refutes("AM-6")
def test_one_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    load_admin_token(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o640)
    with pytest.raises(AdminTokenError, match="0600"):
        load_admin_token(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_one_that_is_no_token_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AdminTokenError, match=FILE_NAME):
        load_admin_token(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdminTokenError, match="cannot be used"):
        load_admin_token(tmp_path / "missing")
