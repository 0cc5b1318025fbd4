"""Key sets of token issuers: a JSON document (RFC 7517) in, the keys that Envoy takes out.

Only the public parts of keys that verify signatures are kept, in one order and one form, so that
equal sets are equal text whoever fetched them. docs/protocol/request-authentication.md RA-5, RA-6.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controlplane.authentication.errors import KeySetError

_BASE64: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_NAME: Final = re.compile(r"[ -~]{1,512}")
_CURVES: Final = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}
_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_LEAST_BITS: Final = 2048
_MOST_BITS: Final = 8192
_LARGEST_EXPONENT: Final = (1 << 33) - 1
_MOST_KEYS: Final = 256
_LARGEST: Final = 1 << 20


def read_key_set(document: str | bytes) -> str:
    """Return the usable keys of ``document`` as a key set.

    Raises:
        KeySetError: it is no key set, or nothing in it verifies signatures.
    """
    if len(document) > _LARGEST:
        raise KeySetError("it is too large")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise KeySetError("it is not JSON") from error
    return key_set_of(value)


def key_set_of(value: Any) -> str:
    """Return the usable keys of a document that is JSON; raises KeySetError likewise."""
    found = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise KeySetError("it has no list of keys")
    if len(found) > _MOST_KEYS:
        raise KeySetError(f"it has more than {_MOST_KEYS} keys")
    usable = {_text(key) for key in map(_public, found) if key is not None}
    if not usable:
        raise KeySetError("it has no key that signatures can be verified with")
    return f'{{"keys":[{",".join(sorted(usable))}]}}'


def _text(key: dict[str, str]) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"))


def _public(key: Any) -> dict[str, str] | None:
    """Return what is public of a key; None for one that Envoy, or nobody, verifies with."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    try:
        public = _READ[key["kty"]](key)
    except (KeyError, TypeError, ValueError):
        return None
    name = key.get("kid")
    if name is not None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return None
        public["kid"] = name
    return public


def _rsa(key: dict[str, Any]) -> dict[str, str]:
    modulus, exponent = _number(key["n"]), _number(key["e"])
    if not _LEAST_BITS <= modulus.bit_length() <= _MOST_BITS or exponent > _LARGEST_EXPONENT:
        raise ValueError(key["kty"])
    rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return {"kty": "RSA", "n": key["n"], "e": key["e"], **_algorithm(key, *_RSA_ALGORITHMS)}


def _elliptic(key: dict[str, Any]) -> dict[str, str]:
    curve, size, algorithm = _CURVES[key["crv"]]
    if len(_octets(key["x"])) != size or len(_octets(key["y"])) != size:
        raise ValueError(key["kty"])
    ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
    point = {name: key[name] for name in ("crv", "x", "y")}
    return {"kty": "EC", **point, **_algorithm(key, algorithm)}


def _edwards(key: dict[str, Any]) -> dict[str, str]:
    if key["crv"] != "Ed25519" or len(_octets(key["x"])) != 32:
        raise ValueError(key["kty"])
    return {"kty": "OKP", "crv": "Ed25519", "x": key["x"], **_algorithm(key, "EdDSA")}


_READ: Final = {"RSA": _rsa, "EC": _elliptic, "OKP": _edwards}


def _algorithm(key: dict[str, Any], *known: str) -> dict[str, str]:
    algorithm = key.get("alg")
    if algorithm is None:
        return {}
    if algorithm not in known:
        raise ValueError(algorithm)
    return {"alg": algorithm}


def _number(text: Any) -> int:
    return int.from_bytes(_octets(text))


def _octets(text: Any) -> bytes:
    if not isinstance(text, str) or not _BASE64.fullmatch(text):
        raise ValueError
    text = text.rstrip("=")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
