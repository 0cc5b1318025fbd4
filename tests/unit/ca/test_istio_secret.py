from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.istio_secret import IstioSecretAuthority
from tests.support.issuing import NOW, Desk, SetClock, chain_of, leaf_of
from tests.support.plugged import (
    YEAR,
    istio_form,
    istio_root,
    key_pem,
    put,
    secret_entries,
    secret_manifest,
    tiers,
)

ROOT = istio_root()
ENTRIES = secret_entries(ROOT)


def secret(path: Path) -> IstioSecretAuthority:
    return IstioSecretAuthority(path, trust_domain="cluster.local", clock=SetClock())


def manifest(folder: Path, text: str) -> Path:
    (folder / "secret.yaml").write_text(text)
    return folder / "secret.yaml"


@pytest.mark.proves("PL-24", "PL-25")
@pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
@pytest.mark.parametrize("as_json", [False, True], ids=["yaml", "json"])
async def test_a_manifest(tmp_path: Path, kind: str, as_json: bool) -> None:
    root = istio_root(kind)
    path = manifest(tmp_path, secret_manifest(secret_entries(root), as_json=as_json))
    snapshot = secret(path).current()
    assert snapshot is not None
    assert snapshot.chain == ()
    assert snapshot.bundle == root.pem
    answer = await Desk(snapshot=snapshot).ask()
    assert chain_of(answer)[1:] == [root.pem]
    # Whoever trusted the installation's root trusts what we sign.
    leaf_of(answer).verify_directly_issued_by(root.certificate)


@pytest.mark.proves("PL-24")
def test_a_folder_of_entries(tmp_path: Path) -> None:
    snapshot = secret(put(tmp_path, ENTRIES)).current()
    assert snapshot is not None
    assert snapshot.bundle == ROOT.pem


@pytest.mark.proves("PL-24")
def test_plain_entries_win(tmp_path: Path) -> None:
    indented = "".join(f"    {line}\n" for line in ROOT.pem.splitlines())
    text = secret_manifest(ENTRIES | {"ca-cert.pem": tiers().signing.pem.encode()})
    path = manifest(tmp_path, f"{text}stringData:\n  ca-cert.pem: |\n{indented}")
    snapshot = secret(path).current()
    assert snapshot is not None
    assert snapshot.bundle == ROOT.pem


@pytest.mark.proves("PL-24", "PL-25")
def test_a_root_that_was_renewed(tmp_path: Path) -> None:
    old = istio_root(begins=NOW - 10 * YEAR, life=10 * YEAR - timedelta(days=1))
    entries = ENTRIES | {"root-cert.pem": old.pem.encode(), "cert-chain.pem": b"-----BEGIN"}
    snapshot = secret(manifest(tmp_path, secret_manifest(entries))).current()
    assert snapshot is not None
    assert snapshot.bundle == ROOT.pem
    assert snapshot.not_after == ROOT.certificate.not_valid_after_utc


@pytest.mark.refutes("PL-25")
def test_a_certificate_that_is_no_root(tmp_path: Path) -> None:
    path = manifest(tmp_path, secret_manifest(istio_form(tiers())))
    with pytest.raises(GivenAuthorityError, match=r"secret\.yaml/ca-cert\.pem"):
        secret(path)


@pytest.mark.refutes("PL-24")
@pytest.mark.parametrize("name", ["ca-cert.pem", "ca-key.pem"])
def test_an_entry_is_missing(tmp_path: Path, name: str) -> None:
    entries = {key: value for key, value in ENTRIES.items() if key != name}
    for missing in (entries, entries | {name: b""}):
        with pytest.raises(GivenAuthorityError, match=rf"secret\.yaml has no {name}"):
            secret(manifest(tmp_path, secret_manifest(missing)))
    with pytest.raises(GivenAuthorityError, match=rf"cannot read .*{name}"):
        secret(put(tmp_path / "folder", entries))


GOOD = secret_manifest(ENTRIES)


@pytest.mark.proves("PL-26")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "exactly one Secret"),
        ("kind: ConfigMap\ndata: {}\n", "exactly one Secret"),
        ("- 1\n", "exactly one Secret"),
        (f"{GOOD}---\n{GOOD}", "exactly one Secret"),
        ("kind: Secret\ndata: [1]\n", "not a mapping"),
        ("kind: Secret\ndata: text\n", "not a mapping"),
        ("kind: Secret\n", "has no ca-cert.pem"),
        ("kind: Secret\ndata:\n  ca-cert.pem: 1\n", "ca-cert.pem .* is not a text"),
        ("kind: Secret\ndata:\n  ca-cert.pem: '#### '\n", "ca-cert.pem .* is not base64"),
        ("kind: Secret\ndata:\n  ca-cert.pem: 'é'\n", "ca-cert.pem .* is not base64"),
        (GOOD.replace("\nkind", '\n  "ca-key.pem": QUJD\nkind'), "more than one way"),
        ("kind: [\n", "cannot be read as YAML or JSON"),
        ("{", "cannot be read as YAML or JSON"),
        ("a: &a [*a, *b]\n", "cannot be read as YAML or JSON|exactly one"),
        ("[" * 5000, "cannot be read as YAML or JSON"),
        ('{"a": ' * 5000, "cannot be read as YAML or JSON"),
    ],
)
def test_what_is_not_one_secret(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(GivenAuthorityError, match=fault) as raised:
        secret(manifest(tmp_path, text))
    assert "secret.yaml" in str(raised.value)


@pytest.mark.proves("PL-26")
def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GivenAuthorityError, match="binary is not text"):
        secret(tmp_path / "binary")
    with pytest.raises(GivenAuthorityError, match=r"cannot read .*none"):
        secret(tmp_path / "none")


@pytest.mark.refutes("PL-26")
def test_other_documents_beside_the_secret(tmp_path: Path) -> None:
    path = manifest(tmp_path, f"# a comment\n---\n{GOOD}---\nkind: ConfigMap\n")
    assert secret(path).current() is not None


@pytest.mark.proves("PL-7")
@pytest.mark.parametrize(
    "entries",
    [{"ca-key.pem": key_pem(tiers().signing.key)}, {"ca-cert.pem": ENTRIES["ca-key.pem"]}],
)
def test_faults_quote_no_key(tmp_path: Path, entries: dict[str, bytes]) -> None:
    (value,) = entries.values()
    planted = [line for line in value.decode().splitlines() if not line.startswith("-")]
    with pytest.raises(GivenAuthorityError) as raised:
        secret(manifest(tmp_path, secret_manifest(ENTRIES | entries)))
    assert not any(line in repr(raised.value) for line in planted)


def test_another_root_later_is_not_taken_up(tmp_path: Path) -> None:
    path = manifest(tmp_path, GOOD)
    authority = secret(path)
    before = authority.current()
    manifest(tmp_path, secret_manifest(secret_entries(istio_root("P-256"))))
    authority.look()
    assert authority.current() is before
    assert "holds other roots" in authority.problem


def test_certificates_are_read_whatever_the_order_of_names(tmp_path: Path) -> None:
    entries = dict(sorted(ENTRIES.items(), reverse=True))
    snapshot = secret(manifest(tmp_path, secret_manifest(entries))).current()
    assert snapshot is not None
    assert x509.load_pem_x509_certificates(snapshot.bundle.encode()) == [ROOT.certificate]
