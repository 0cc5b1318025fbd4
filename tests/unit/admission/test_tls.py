import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from controlplane.admission import tls
from controlplane.admission.errors import UnusableCertificateError
from controlplane.admission.tls import ServingContext
from tests.support.admission import Issuer

NAME = "istiod.istio-system.svc"


class Connection:
    """A client and a server in memory, after their handshake."""

    def __init__(
        self, serving: ServingContext, issuer: Issuer, *, name: str | None = NAME, **client: object
    ) -> None:
        context = ssl.create_default_context(cadata=issuer.root_pem.decode())
        context.check_hostname = name is not None
        for option, value in client.items():
            setattr(context, option, value)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(down, up, server_hostname=name)
        self.server = serving.context.wrap_bio(up, down, server_side=True)
        done: set[ssl.SSLObject] = set()
        for _ in range(5):
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    continue
        assert len(done) == 2

    @property
    def chain(self) -> str:
        der = self.client.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der)

    def talk(self) -> bytes:
        self.client.write(b"hello")
        return self.server.read(5)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.proves("AD-15")
@pytest.mark.parametrize("name", [NAME, None], ids=["named", "nameless"])
def test_a_new_certificate_is_served_from_the_next_handshake_on(
    issuer: Issuer, name: str | None
) -> None:
    first, second = issuer.served(NAME), issuer.served(NAME)
    serving = ServingContext(*first)
    before = Connection(serving, issuer, name=name)
    serving.replace(*second)
    assert before.chain.encode() == first[0]
    assert Connection(serving, issuer, name=name).chain.encode() == second[0]
    assert before.talk() == b"hello"


@pytest.mark.proves("AD-15")
def test_the_type_of_the_key_may_change(issuer: Issuer) -> None:
    chains = [
        issuer.served(NAME, key=key)
        for key in (
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP384R1()),
        )
    ]
    serving = ServingContext(*chains[0])
    for chain, key in chains:
        serving.replace(chain, key)
        assert Connection(serving, issuer).chain.encode() == chain


@pytest.mark.refutes("AD-15")
def test_a_pair_that_does_not_fit_is_refused_and_the_one_before_stays(issuer: Issuer) -> None:
    good, other = issuer.served(NAME), issuer.served(NAME)
    serving = ServingContext(*good)
    for chain, key in (
        (good[0], other[1]),
        (b"", good[1]),
        (good[0], b""),
        (good[1], good[0]),
        (good[0], _locked()),
    ):
        with pytest.raises(UnusableCertificateError) as error:
            serving.replace(chain, key)
        assert "BEGIN" not in str(error.value)
        assert Connection(serving, issuer).chain.encode() == good[0]
    with pytest.raises(UnusableCertificateError):
        ServingContext(good[0], other[1])


def _locked() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


@pytest.mark.refutes("AD-15")
def test_older_protocols_are_not_spoken(issuer: Issuer) -> None:
    assert ServingContext(*issuer.served(NAME)).context.minimum_version is ssl.TLSVersion.TLSv1_2
    twelve: dict[str, Any] = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    serving = ServingContext(*issuer.served(NAME))
    assert Connection(serving, issuer, **twelve).client.version() == "TLSv1.2"
    assert Connection(serving, issuer).client.version() == "TLSv1.3"


@pytest.mark.proves("AD-16")
@pytest.mark.parametrize("has_memory_files", [True, False])
def test_the_key_leaves_no_file_behind_and_nobody_else_reads_it(
    issuer: Issuer, has_memory_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create")
    with tls._file_of(b"key") as path:
        found = Path(path)
        assert found.read_bytes() == b"key"
        assert found.stat().st_mode & 0o777 == 0o600
    assert not found.exists()
    assert Connection(ServingContext(*issuer.served(NAME)), issuer).talk() == b"hello"


@pytest.mark.refutes("AD-16")
def test_a_file_in_memory_has_no_name_in_any_folder() -> None:
    with tls._file_of(b"key") as path:
        assert str(Path(path).readlink()).startswith("/memfd:")
