"""Which keys of a key set are used, and what of them is told."""

import hashlib
import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from controlplane.authentication.errors import KeySetError
from controlplane.authentication.key_set import read_key_set
from controlplane.model.token_rule import REFUSING_KEYS
from tests.support.tokens import public_key

RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
WEAK = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)  # noqa: S505 - weak on purpose
ED = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
EC = public_key()
BIG = [
    ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key(), as_dict=True)
    for curve in (ec.SECP384R1(), ec.SECP521R1())
]


def _kept(*keys: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(read_key_set(json.dumps({"keys": keys})))["keys"]
    return found


@pytest.mark.proves("RA-5")
@pytest.mark.parametrize(
    "key", [RSA, EC, ED, *BIG, {**RSA, "alg": "PS256"}, {**RSA, "alg": "RS512"}]
)
def test_keys_that_verify_are_used(key: dict[str, str]) -> None:
    (kept,) = _kept({"kty": "X"}, key)
    assert kept["kty"] == key["kty"]
    assert kept.items() <= {k: v for k, v in key.items() if k not in ("use", "key_ops")}.items()


@pytest.mark.refutes("RA-5")
@pytest.mark.parametrize(
    "key",
    [
        None,
        [],
        {},
        {"kty": []},
        {"kty": "X"},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        WEAK,
        {**EC, "use": "enc"},
        {**EC, "crv": "P-999"},
        {**EC, "crv": ["P-256"]},
        {**EC, "x": EC["y"]},
        {**EC, "x": "!"},
        {**EC, "x": 3},
        {**EC, "x": "A" + EC["x"]},
        {**EC, "alg": "ES384"},
        {**EC, "alg": "none"},
        {**EC, "kid": 3},
        {**EC, "kid": ""},
        {**RSA, "alg": "RSA-OAEP"},
        {**RSA, "e": "Ag"},
        {**RSA, "n": ""},
        {**ED, "crv": "X25519"},
        {**ED, "x": ED["x"][:-2]},
    ],
)
def test_others_are_left_out(key: Any) -> None:
    assert _kept(key, EC) == _kept(EC)
    with pytest.raises(KeySetError, match="no key"):
        _kept(key)


@pytest.mark.refutes("RA-5")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys",
        "[]",
        "{}",
        '{"keys": {}}',
        '{"keys": []}',
        "[" * 100_000,
        "9" * 10_000,
        b"\xff\xfe{}",
        '{"keys": []}' + " " * (1 << 20),
        json.dumps({"keys": [EC] * 257}),
    ],
)
def test_what_is_no_key_set(text: str | bytes) -> None:
    with pytest.raises(KeySetError):
        read_key_set(text)


@pytest.mark.proves("RA-6")
def test_equal_sets_are_equal_text() -> None:
    other = {**public_key("two"), "x5c": ["MII"], "note": "of no use"}
    plain = {key: value for key, value in other.items() if key not in ("x5c", "note")}
    shuffled = dict(reversed(list(EC.items())))
    assert read_key_set(json.dumps({"keys": [EC, other]})) == read_key_set(
        json.dumps({"keys": [plain, shuffled, EC], "more": 1}, indent=2).encode()
    )


@pytest.mark.proves("RA-6")
def test_what_is_private_is_not_told() -> None:
    private = RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True)
    assert "d" in private
    (kept,) = _kept(private)
    assert kept.keys() <= {"kty", "n", "e", "alg", "kid"}


@pytest.mark.refutes("RA-6")
def test_sets_that_differ_differ() -> None:
    assert _kept(EC) != _kept({**EC, "kid": "another"}) != _kept(public_key("two"))


@pytest.mark.proves("RA-9")
def test_nobody_can_have_the_key_that_refuses() -> None:
    (key,) = json.loads(REFUSING_KEYS)["keys"]
    assert read_key_set(REFUSING_KEYS) == REFUSING_KEYS
    # Whoever knew its private key could take logarithms: the point comes from a hash.
    x = urlsafe_b64decode(key["x"] + "=")
    assert x == hashlib.sha256(b"istiod-lite: nobody has this key 0").digest()
