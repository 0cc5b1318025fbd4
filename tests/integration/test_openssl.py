"""A strict verifier that is not ours accepts every kind of chain that is issued."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authorities import KINDS, a_key, a_root, a_snapshot
from tests.support.issuing import NOW, SHOP, Desk, a_csr, a_request, chain_of

OPENSSL = shutil.which("openssl") or ""

pytestmark = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")


def verdict(folder: Path, chain: list[str], roots: str, *, purpose: str) -> tuple[int, str]:
    (folder / "leaf.pem").write_text(chain[0])
    (folder / "roots.pem").write_text(roots)
    (folder / "between.pem").write_text("".join(chain[1:-1]))
    between = ["-untrusted", str(folder / "between.pem")] if chain[1:-1] else []
    command = [
        OPENSSL,
        "verify",
        "-x509_strict",
        "-attime",
        str(int(NOW.timestamp()) + 60),
        "-purpose",
        purpose,
        "-no-CApath",
        "-CAfile",
        str(folder / "roots.pem"),
        *between,
        str(folder / "leaf.pem"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.proves("CA-25", "CA-31")
@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
@pytest.mark.parametrize("roots", [1, 3])
@pytest.mark.parametrize("has_intermediate", [True, False], ids=["two tiers", "one tier"])
@pytest.mark.parametrize("authority", KINDS)
async def test_strict_verification(
    tmp_path: Path, authority: str, has_intermediate: bool, roots: int, purpose: str
) -> None:
    snapshot = a_snapshot(authority, now=NOW, roots=roots, has_intermediate=has_intermediate)
    for kind in ("P-256", "P-384", "RSA-2048"):
        request = a_request(a_csr(SHOP, key=a_key(kind)))
        chain = chain_of(await Desk(snapshot=snapshot).ask(request))
        code, said = verdict(tmp_path, chain, chain[-1], purpose=purpose)
        assert code == 0, said


@pytest.mark.refutes("CA-31")
async def test_another_root_of_the_same_name_does_not_verify(tmp_path: Path) -> None:
    chain = chain_of(await Desk().ask())
    stranger = a_root(number=5, begins=NOW).certificate.public_bytes(Encoding.PEM).decode()
    assert len(x509.load_pem_x509_certificates(stranger.encode())) == 1
    code, _ = verdict(tmp_path, chain, stranger, purpose="sslclient")
    assert code != 0
