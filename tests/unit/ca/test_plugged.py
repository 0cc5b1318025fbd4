from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat
from structlog.testing import capture_logs

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.plugged import PluggedAuthority, plugged_files
from tests.support.authorities import KINDS
from tests.support.issuing import SetClock
from tests.support.plugged import istio_form, key_pem, put, tiers, tls_form

ALL_NAMES = (*istio_form(tiers()), *tls_form(tiers()))


def plugged(folder: Path) -> PluggedAuthority:
    return PluggedAuthority(folder, trust_domain="cluster.local", clock=SetClock())


@pytest.mark.proves("PL-1", "PL-6")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_istio_form(tmp_path: Path, kind: str, form: PrivateFormat) -> None:
    given = tiers(kind)
    snapshot = plugged(put(tmp_path, istio_form(given, form=form))).current()
    assert snapshot is not None
    assert snapshot.certificate == given.signing.certificate
    assert snapshot.chain == (given.signing.pem, given.middle.pem)
    assert snapshot.bundle == given.root.pem
    assert (snapshot.generation, snapshot.trust_domain) == (1, "cluster.local")


@pytest.mark.proves("PL-1")
@pytest.mark.parametrize("kind", KINDS)
def test_tls_form(tmp_path: Path, kind: str) -> None:
    given = tiers(kind)
    snapshot = plugged(put(tmp_path, tls_form(given))).current()
    assert snapshot is not None
    assert snapshot.chain == (given.signing.pem, given.middle.pem)
    assert snapshot.bundle == given.root.pem


@pytest.mark.proves("PL-1")
def test_tls_form_wins(tmp_path: Path) -> None:
    other = tiers(number=1)
    put(tmp_path, istio_form(tiers()) | tls_form(other))
    snapshot = plugged(tmp_path).current()
    assert snapshot is not None
    assert snapshot.bundle == other.root.pem


@pytest.mark.refutes("PL-1")
def test_a_stray_file_of_the_other_form_does_not_win(tmp_path: Path) -> None:
    files = istio_form(tiers()) | {"ca.crt": b"another root", "tls.key": b"another key"}
    snapshot = plugged(put(tmp_path, files)).current()
    assert snapshot is not None
    assert snapshot.bundle == tiers().root.pem


@pytest.mark.proves("PL-2")
def test_nothing_plugged_in(tmp_path: Path) -> None:
    assert plugged_files(tmp_path / "none") is None
    assert plugged_files(put(tmp_path, {"README": b"hello", "ca-crl.pem": b""})) is None
    with pytest.raises(GivenAuthorityError, match="holds no authority"):
        plugged(tmp_path)


@pytest.mark.refutes("PL-2")
@pytest.mark.proves("PL-3")
@pytest.mark.parametrize("name", ALL_NAMES)
def test_one_file_is_not_nothing(tmp_path: Path, name: str) -> None:
    form = istio_form(tiers()) if name in istio_form(tiers()) else tls_form(tiers())
    put(tmp_path, {name: form[name]})
    with pytest.raises(GivenAuthorityError, match="incomplete") as raised:
        plugged_files(tmp_path)
    missing = str(raised.value).partition("missing: ")[2].split(", ")
    assert sorted([*missing, name]) == sorted(form)


@pytest.mark.proves("PL-3")
@pytest.mark.parametrize("name", ALL_NAMES)
def test_one_file_missing(tmp_path: Path, name: str) -> None:
    form = istio_form(tiers()) if name in istio_form(tiers()) else tls_form(tiers())
    put(tmp_path, form)
    (tmp_path / name).unlink()
    with pytest.raises(GivenAuthorityError, match=f"incomplete, missing: {name}$"):
        plugged_files(tmp_path)


@pytest.mark.proves("PL-3")
def test_a_link_to_nothing_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "ca-cert.pem").symlink_to(tmp_path / "gone")
    with pytest.raises(GivenAuthorityError, match=r"missing: ca-cert\.pem, ca-key\.pem"):
        plugged_files(tmp_path)


@pytest.mark.proves("PL-3")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "cacerts").write_text("a file")
    with pytest.raises(GivenAuthorityError, match=r"cannot read .*/cacerts: Not a directory"):
        plugged_files(tmp_path / "cacerts")


@pytest.mark.refutes("PL-3")
@pytest.mark.parametrize("form", [istio_form, tls_form])
def test_a_whole_folder(tmp_path: Path, form: object) -> None:
    assert callable(form)
    files = plugged_files(put(tmp_path, form(tiers())))
    assert files is not None
    assert dict(files.texts) == form(tiers())


@pytest.mark.proves("PL-4")
@pytest.mark.parametrize("text", [b"", b"-----BEGIN X509 CRL-----\ndamaged"])
def test_a_revocation_list_is_not_used(tmp_path: Path, text: bytes) -> None:
    with capture_logs() as logs:
        authority = plugged(put(tmp_path, istio_form(tiers()) | {"ca-crl.pem": text}))
    assert authority.current() is not None
    assert [entry["event"] for entry in logs] == ["authorities.revocations-ignored"]


@pytest.mark.refutes("PL-4")
def test_without_a_revocation_list_nothing_is_said(tmp_path: Path) -> None:
    with capture_logs() as logs:
        plugged(put(tmp_path, istio_form(tiers())))
    assert logs == []


@pytest.mark.proves("PL-8")
def test_only_ordinary_files(tmp_path: Path) -> None:
    put(tmp_path, istio_form(tiers()))
    (tmp_path / "ca-key.pem").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(GivenAuthorityError, match=r"ca-key\.pem is larger than"):
        plugged(tmp_path)
    (tmp_path / "ca-key.pem").unlink()
    (tmp_path / "ca-key.pem").mkdir()
    with pytest.raises(GivenAuthorityError, match=r"ca-key\.pem.* (not an ordinary|directory)"):
        plugged(tmp_path)


@pytest.mark.refutes("PL-8")
def test_links_are_followed(tmp_path: Path) -> None:
    # As a Secret is mounted: names are links into a folder that is itself a link.
    put(tmp_path / "..first", istio_form(tiers()))
    (tmp_path / "..data").symlink_to("..first")
    for name in istio_form(tiers()):
        (tmp_path / name).symlink_to(f"..data/{name}")
    authority = plugged(tmp_path)
    first = authority.current()
    put(tmp_path / "..second", istio_form(tiers(renewal=1)))
    (tmp_path / "..next").symlink_to("..second")
    (tmp_path / "..next").rename(tmp_path / "..data")
    authority.look()
    second = authority.current()
    assert first is not None
    assert second is not None
    assert (first.generation, second.generation) == (1, 2)
    assert second.certificate == tiers(renewal=1).signing.certificate
    assert authority.problem == ""


@pytest.mark.proves("PL-7")
def test_what_is_said_and_shown_holds_no_key(tmp_path: Path) -> None:
    secret = key_pem(tiers().signing.key)
    planted = [line for line in secret.decode().splitlines() if not line.startswith("-")]
    put(tmp_path, istio_form(tiers()) | {"root-cert.pem": secret})
    files = plugged_files(tmp_path)
    with pytest.raises(GivenAuthorityError, match=r"root-cert\.pem") as raised:
        plugged(tmp_path)
    chain = (raised.value.__cause__, raised.value.__context__)
    assert not any(line in f"{raised.value!r} {chain} {files!r}" for line in planted)
