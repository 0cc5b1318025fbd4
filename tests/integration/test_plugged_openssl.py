"""A strict verifier that is not ours accepts what is signed with authorities that are given."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.istio_secret import IstioSecretAuthority
from controlplane.ca.plugged import PluggedAuthority
from controlplane.ca.signer import SignerSource
from controlplane.clock import SystemClock
from tests.integration.test_openssl import OPENSSL, verdict
from tests.support.authorities import KINDS, a_key, an_authority
from tests.support.issuing import NOW, SHOP, Desk, SetClock, a_csr, a_request, chain_of
from tests.support.plugged import (
    Tiers,
    istio_form,
    istio_root,
    put,
    secret_entries,
    secret_manifest,
    tiers,
    tls_form,
)

pytestmark = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")

PURPOSES = ("sslclient", "sslserver")


async def require_verified(folder: Path, signers: SignerSource, roots: str) -> None:
    for kind in ("P-256", "RSA-2048"):
        request = a_request(a_csr(SHOP, key=a_key(kind)))
        chain = chain_of(await Desk(signers=signers).ask(request))
        for purpose in PURPOSES:
            code, said = verdict(folder, chain, roots, purpose=purpose)
            assert code == 0, said


@pytest.mark.proves("PL-14", "PL-15")
@pytest.mark.parametrize("form", [istio_form, tls_form])
@pytest.mark.parametrize("kind", KINDS)
async def test_plugged_in(
    tmp_path: Path, form: Callable[[Tiers], dict[str, bytes]], kind: str
) -> None:
    folder = put(tmp_path / "cacerts", form(tiers(kind)))
    authority = PluggedAuthority(folder, trust_domain="cluster.local", clock=SetClock())
    await require_verified(tmp_path, authority, tiers(kind).root.pem)
    put(folder, form(tiers(kind, renewal=1)))
    authority.look()
    snapshot = authority.current()
    assert snapshot is not None
    assert snapshot.generation == 2
    await require_verified(tmp_path, authority, tiers(kind).root.pem)


@pytest.mark.proves("PL-25")
@pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
async def test_certificates_from_before_and_after_the_move(tmp_path: Path, kind: str) -> None:
    root = istio_root(kind)
    (tmp_path / "secret.yaml").write_text(secret_manifest(secret_entries(root)))
    authority = IstioSecretAuthority(
        tmp_path / "secret.yaml", trust_domain="cluster.local", clock=SetClock()
    )
    # Whoever was there before has its anchors from the installation: this root, as it is.
    await require_verified(tmp_path, authority, root.pem)
    snapshot = authority.current()
    assert snapshot is not None
    before = an_authority(
        "as before the move",
        key=a_key(number=950),
        parent=root,
        path_length=0,
        not_before=NOW,
        life=root.certificate.not_valid_after_utc - NOW,
    )
    # And it is verified with the anchors that we send.
    code, said = verdict(tmp_path, [before.pem, snapshot.bundle], snapshot.bundle, purpose="any")
    assert code == 0, said


def openssl(folder: Path, *arguments: str) -> None:
    command = [OPENSSL, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=15)


CONFIGURATION = """\
[req]
distinguished_name = name
prompt = no
[name]
O = Example
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


def made_by_openssl(folder: Path, *, digest: str = "-sha256") -> Path:
    """Return a folder in istio's form whose every file openssl wrote, of today."""
    for name in ("root", "signing"):
        (folder / f"{name}.cnf").write_text(CONFIGURATION.format(name=name))
    openssl(folder, "ecparam", "-name", "secp384r1", "-genkey", "-out", "root.key")
    openssl(folder, "genrsa", "-traditional", "-out", "ca-key.pem", "2048")
    openssl(
        folder,
        *("req", "-new", "-x509", "-key", "root.key", "-out", "root-cert.pem", "-days", "9"),
        *("-config", "root.cnf", "-extensions", "authority"),
    )
    openssl(folder, "req", "-new", "-key", "ca-key.pem", "-out", "csr", "-config", "signing.cnf")
    openssl(
        folder,
        *("x509", "-req", "-in", "csr", "-CA", "root-cert.pem", "-CAkey", "root.key", digest),
        *("-CAcreateserial", "-days", "5", "-extfile", "signing.cnf", "-extensions", "authority"),
        *("-text", "-out", "ca-cert.pem"),
    )
    shutil.copy(folder / "ca-cert.pem", folder / "cert-chain.pem")
    return folder


@pytest.mark.proves("PL-1", "PL-6")
@pytest.mark.refutes("PL-5")
def test_files_made_by_openssl(tmp_path: Path) -> None:
    folder = made_by_openssl(tmp_path)
    assert b"Signature Algorithm" in (folder / "ca-cert.pem").read_bytes()
    authority = PluggedAuthority(folder, trust_domain="cluster.local", clock=SystemClock())
    snapshot = authority.current()
    assert snapshot is not None
    assert len(snapshot.chain) == 1
    (folder / "ca-key.pem").unlink()
    openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-out", "ca-key.pem")
    authority.look()
    assert "does not belong" in authority.problem


@pytest.mark.proves("PL-14")
def test_a_signature_over_sha1(tmp_path: Path) -> None:
    folder = made_by_openssl(tmp_path, digest="-sha1")
    with pytest.raises(GivenAuthorityError, match=r"ca-cert\.pem .*(sha1|does not lead to)"):
        PluggedAuthority(folder, trust_domain="cluster.local", clock=SystemClock())
