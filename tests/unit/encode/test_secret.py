import pytest

from controlplane.encode.document import envoy_json
from controlplane.encode.secret import encode_identity, encode_roots

CHAIN, KEY, ROOTS = b"a chain", b"a key", b"some roots"


@pytest.mark.proves("WC-38")
def test_secrets_have_the_names_that_listeners_ask_for() -> None:
    identity, roots = encode_identity(CHAIN, KEY), encode_roots(ROOTS)
    assert (identity.name, roots.name) == ("default", "ROOTCA")
    assert sorted(envoy_json(identity)["tls_certificate"]) == ["certificate_chain", "private_key"]
    assert list(envoy_json(roots)["validation_context"]) == ["trusted_ca"]
    assert identity.version != encode_identity(b"another chain", KEY).version
    assert roots.version != encode_roots(b"other roots").version


@pytest.mark.refutes("WC-38")
def test_a_key_decides_no_version() -> None:
    first, second = encode_identity(CHAIN, KEY), encode_identity(CHAIN, b"another key")
    assert first.version == second.version
    assert first.body != second.body
