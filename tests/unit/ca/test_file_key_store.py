import json
import os
import pickle
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.ca.authority_set import KeptAuthorities, Orders
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.file_key_store import FILE, KEY_FILE, FileKeyStore, replace_file
from controlplane.ca.key_document import content_of, document_of
from controlplane.ca.key_envelope import KeyOfKeys
from controlplane.model.certificate import AuthorityTier
from tests.support.authority_stores import World


async def some_content() -> KeptAuthorities:
    world = World()
    await world.replica().look()
    return world.kept


def numbers(content: KeptAuthorities) -> dict[str, int]:
    return {
        name: key.private_numbers().private_value  # type: ignore[union-attr]
        for name, key in content.keys.items()
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.proves("AT-7", "AT-8")
async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "ca")
    assert await store.load() is None
    content = await some_content()
    content = replace(content, orders=Orders(rotates=frozenset({AuthorityTier.ROOT})))
    first = await store.save(content, expected=None)
    second = await store.save(content, expected=first)
    kept = await FileKeyStore(tmp_path / "ca").load()
    assert kept is not None
    assert kept.revision == second != first
    assert kept.content.authorities == content.authorities
    assert kept.content.orders == content.orders
    assert numbers(kept.content) == numbers(content)


@pytest.mark.refutes("AT-8")
async def test_a_write_based_on_something_older_is_refused(tmp_path: Path) -> None:
    store, other = FileKeyStore(tmp_path), FileKeyStore(tmp_path)
    content = await some_content()
    revision = await store.save(content, expected=None)
    later = await other.save(replace(content, orders=Orders(is_paused=True)), expected=revision)
    for expected in (revision, None, "7"):
        with pytest.raises(KeyStoreConflictError):
            await store.save(content, expected=expected)
    kept = await store.load()
    assert kept is not None
    assert kept.revision == later
    assert kept.content.orders.is_paused


@pytest.mark.proves("AT-8")
async def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileKeyStore(tmp_path)
    content = await some_content()
    revision = await store.save(content, expected=None)
    before = names_in(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyStoreError, match="No space left"):
        await store.save(content, expected=revision)
    monkeypatch.undo()
    assert names_in(tmp_path) == before
    kept = await store.load()
    assert kept is not None
    assert kept.revision == revision


@pytest.mark.proves("AT-6")
async def test_folder_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    folder.mkdir(mode=0o755)
    await FileKeyStore(folder).save(await some_content(), expected=None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.refutes("AT-6")
@pytest.mark.parametrize("name", [FILE, KEY_FILE])
async def test_links_and_open_files_are_refused(tmp_path: Path, name: str) -> None:
    await FileKeyStore(tmp_path).save(await some_content(), expected=None)
    path = tmp_path / name
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match="only its owner"):
        await FileKeyStore(tmp_path).load()
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyStoreError, match=name):
        await FileKeyStore(tmp_path).load()


@pytest.mark.refutes("AT-7")
async def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    await FileKeyStore(tmp_path).save(await some_content(), expected=None)
    path = tmp_path / FILE
    envelope = json.loads(path.read_bytes())
    for change in (
        {"header": {**envelope["header"], "revision": 9}},
        {"content": envelope["content"][:-8] + "AAAAAAA="},
        {"key": envelope["content"]},
        {"content": 5},
        {"header": {**envelope["header"], "source": "passphrase"}},
    ):
        replace_file(path, json.dumps({**envelope, **change}).encode())
        with pytest.raises(KeyStoreError, match=str(path)):
            await FileKeyStore(tmp_path).load()


@pytest.mark.refutes("AT-7")
async def test_a_secret_is_not_made_anew_beside_a_file_that_needs_one(tmp_path: Path) -> None:
    await FileKeyStore(tmp_path).save(await some_content(), expected=None)
    (tmp_path / KEY_FILE).unlink()
    store = FileKeyStore(tmp_path)
    with pytest.raises(KeyStoreError, match=KEY_FILE):
        await store.load()
    with pytest.raises(KeyStoreError, match=KEY_FILE):
        await store.save(await some_content(), expected=None)
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.proves("AT-7")
@pytest.mark.refutes("AT-7")
async def test_a_passphrase_opens_what_it_sealed(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    replace_file(passphrase, b"correct horse\n")
    content = await some_content()
    await FileKeyStore(tmp_path / "ca", passphrase_file=passphrase).save(content, expected=None)
    kept = await FileKeyStore(tmp_path / "ca", passphrase_file=passphrase).load()
    assert kept is not None
    assert numbers(kept.content) == numbers(content)
    assert not (tmp_path / "ca" / KEY_FILE).exists()
    header = json.loads((tmp_path / "ca" / FILE).read_bytes())["header"]
    assert header["scrypt"]["n"] >= 2**15
    replace_file(passphrase, b"battery staple\n")
    with pytest.raises(KeyStoreError, match="another secret") as caught:
        await FileKeyStore(tmp_path / "ca", passphrase_file=passphrase).load()
    assert "staple" not in str(caught.value)


def test_a_cheap_derivation_is_refused() -> None:
    key = KeyOfKeys(b"correct horse", is_passphrase=True)
    envelope = json.loads(key.seal(b"content", revision=1))
    envelope["header"]["scrypt"]["n"] = 2
    other = KeyOfKeys(b"correct horse", is_passphrase=True)
    with pytest.raises(KeyStoreError, match="not an envelope"):
        other.open(json.dumps(envelope).encode())


@pytest.mark.proves("AT-9")
async def test_keys_show_in_no_representation(tmp_path: Path) -> None:
    content = await some_content()
    secret = b"s" * 32
    key = KeyOfKeys(secret, is_passphrase=False)
    opened = key.open(key.seal(document_of(content), revision=3))
    for value in (content, key, opened):
        assert "PrivateKey" not in repr(value)
        assert "sss" not in repr(value)
    await FileKeyStore(tmp_path).save(content, expected=None)
    written = bytes_in(tmp_path)
    assert b"-----BEGIN" not in written
    assert b"cluster.local" not in written


@pytest.mark.refutes("AT-9")
async def test_what_holds_keys_cannot_be_pickled() -> None:
    for value in (KeyOfKeys(b"s" * 32, is_passphrase=False), await some_content()):
        with pytest.raises(TypeError, match="stay"):
            pickle.dumps(value)


def test_a_document_of_another_kind_is_refused_without_quoting_it() -> None:
    for document in (b"{}", b"canary", b'{"format": 2}', b'{"format": 1, "state": "canary"}'):
        with pytest.raises(KeyStoreError) as caught:
            content_of(document)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None
