"""Files of the store: who may read them, and what is made of damaged ones."""

import pickle
from pathlib import Path

import pytest

from controlplane.store.anchors import Anchor, FileAnchors
from controlplane.store.chain import Head, LedgerKey
from controlplane.store.database import Database, database_url
from controlplane.store.errors import DatabaseError, DatabaseUrlError
from controlplane.store.ledger_key import LedgerKeyError, ledger_key, read_ledger_key
from controlplane.store.ledger_rows import Entry
from controlplane.store.schema import upgrade
from controlplane.store.spool import Spool
from controlplane.store.tables import metadata
from tests.support.ledger import KEY, a_certificate


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.proves("LG-33")
async def test_files_are_made_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    database = Database(database_url(None, data_dir=folder))
    await upgrade(database)
    ledger_key(folder)
    head = Head(sequence=1, mac="00")
    FileAnchors(folder, KEY).write(Anchor(replica_id="replica-1", head=head))
    Spool(folder).append([Entry(value=a_certificate())])
    found = {path.relative_to(folder).parts[0]: _mode(path) for path in folder.rglob("*")}
    await database.close()
    assert {mode for name, mode in found.items() if name != "ledger-heads"} == {0o600}
    assert _mode(folder) == 0o700
    assert [_mode(each) for each in (folder / "ledger-heads").iterdir()] == [0o600]
    assert _mode(folder / "ledger-heads") == 0o700


@pytest.mark.proves("LG-33")
def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    ledger_key(tmp_path)
    (tmp_path / "ledger.key").chmod(0o640)
    with pytest.raises(LedgerKeyError, match="chmod 600"):
        ledger_key(tmp_path)


@pytest.mark.refutes("LG-33")
def test_a_key_of_ones_own_is_made_once_and_read_again(tmp_path: Path) -> None:
    document = {"a": 1}
    made = ledger_key(tmp_path).code("test", document)
    assert ledger_key(tmp_path).code("test", document) == made
    assert read_ledger_key(tmp_path).code("test", document) == made
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.key"]


@pytest.mark.parametrize("content", ["", "zz", "00" * 31])
def test_a_damaged_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ledger.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(LedgerKeyError, match="holds no ledger key"):
        read_ledger_key(tmp_path)


def test_a_key_shows_nothing_of_itself() -> None:
    key = LedgerKey(b"canary-canary-canary-canary-canary")
    assert "canary" not in repr(key) + str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(ValueError, match="at least 32"):
        LedgerKey(b"short")


def test_codes_for_different_purposes_differ() -> None:
    assert KEY.code("issued", {"a": 1}) != KEY.code("refused", {"a": 1})
    assert not KEY.made(None, "issued", {"a": 1})


@pytest.mark.parametrize(
    "text", ["mysql://db/x", "sqlite://", "sqlite:///:memory:", "nonsense", "sqlite+pysqlite:///x"]
)
def test_urls_of_no_use_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUrlError):
        database_url(text, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (None, "sqlite+aiosqlite"),
        ("sqlite:///x.db", "sqlite+aiosqlite"),
        ("postgres://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg"),
    ],
)
def test_urls_name_their_driver(text: str | None, driver: str, tmp_path: Path) -> None:
    assert database_url(text, data_dir=tmp_path).drivername == driver


def test_a_database_file_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "istiod-lite.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatabaseError, match="cannot be made"):
        Database(database_url(None, data_dir=tmp_path))


async def test_a_server_that_is_away_is_an_error_without_its_password(tmp_path: Path) -> None:
    url = database_url("postgresql://me:canary@127.0.0.1:1/mesh", data_dir=tmp_path)
    database = Database(url)
    with pytest.raises(DatabaseError) as raised:
        async with database.reading():
            pass
    assert "canary" not in str(raised.value)
    assert raised.value.__suppress_context__
    await database.close()


def test_no_table_has_room_for_secrets() -> None:
    names = {column.name for table in metadata.tables.values() for column in table.columns}
    suspicious = ("private", "token", "csr", "password", "secret", "pem")
    found = {name for name in names if any(word in name for word in suspicious)}
    assert found == {"csr_sha256", "fencing_token"}


def test_a_ledger_key_that_another_user_left_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_key(tmp_path)
    owner = (tmp_path / "ledger.key").stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(LedgerKeyError, match="another user"):
        read_ledger_key(tmp_path)
