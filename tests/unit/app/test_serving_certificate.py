import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from controlplane.app.errors import StartupError
from controlplane.app.serving_certificate import (
    make_serving_certificate,
    serving_certificate_from_files,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("localhost", "127.0.0.1")


def test_leaf_is_signed_by_the_root_file_and_carries_the_names(tmp_path: Path) -> None:
    made = make_serving_certificate(tmp_path / "keys", names=NAMES, now=NOW)
    leaf = x509.load_pem_x509_certificates(made.chain)[0]
    root = x509.load_pem_x509_certificate(made.root_file.read_bytes())
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_root_survives_a_restart_and_its_key_is_private(tmp_path: Path) -> None:
    first = make_serving_certificate(tmp_path, names=NAMES, now=NOW)
    root = first.root_file.read_bytes()
    second = make_serving_certificate(tmp_path, names=NAMES, now=NOW)
    assert second.root_file.read_bytes() == root
    assert first.chain != second.chain
    assert stat.S_IMODE((tmp_path / "root-key.pem").stat().st_mode) == 0o600


def test_half_a_root_is_refused(tmp_path: Path) -> None:
    make_serving_certificate(tmp_path, names=NAMES, now=NOW)
    (tmp_path / "root-key.pem").unlink()
    with pytest.raises(StartupError, match="only one of"):
        make_serving_certificate(tmp_path, names=NAMES, now=NOW)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    made = make_serving_certificate(tmp_path, names=NAMES, now=NOW)
    other = make_serving_certificate(tmp_path, names=NAMES, now=NOW)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    assert serving_certificate_from_files(chain, key, None).chain == made.chain
    key.write_bytes(other.key)
    with pytest.raises(StartupError, match="does not belong"):
        serving_certificate_from_files(chain, key, None)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "chain.pem"
    broken.write_text("nothing")
    with pytest.raises(StartupError, match=r"chain\.pem"):
        serving_certificate_from_files(broken, broken, None)
