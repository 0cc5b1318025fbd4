"""What a key store keeps, as bytes and back: JSON with certificates and keys in base 64.

Whoever stores the bytes encrypts them first: they hold private keys in the clear.
"""

import base64
import json
from dataclasses import asdict
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from controlplane.ca.authority import AuthorityKey
from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities, Orders
from controlplane.ca.errors import KeyStoreError
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityState,
    AuthorityStatus,
    AuthorityTier,
    BundleEntry,
    BundleSource,
)

_FORMAT: Final = 1
_MOMENTS: Final = (
    "not_before",
    "not_after",
    "prepared_at",
    "published_at",
    "activated_at",
    "retired_at",
    "tainted_at",
    "removed_at",
    "max_leaf_not_after",
)


def document_of(content: KeptAuthorities) -> bytes:
    """Return ``content`` as bytes, private keys included."""
    authorities = content.authorities
    orders = content.orders
    return json.dumps(
        {
            "format": _FORMAT,
            "state": asdict(authorities.state),
            "authorities": [asdict(each) for each in authorities.authorities],
            "bundle": [asdict(each) for each in authorities.bundle],
            "keys": {name: _key_bytes(key) for name, key in content.keys.items()},
            "orders": {
                "is_paused": orders.is_paused,
                "is_hard": orders.is_hard,
                "rotates": sorted(orders.rotates),
                "tainted": sorted(orders.tainted),
            },
        },
        default=_plain,
    ).encode()


def content_of(document: bytes) -> KeptAuthorities:
    """Return what ``document_of`` made ``document`` from.

    Raises:
        KeyStoreError: it is something else, or of a later version. The text holds none of it.
    """
    try:
        read: dict[str, Any] = json.loads(document)
        if read["format"] != _FORMAT:
            raise KeyStoreError("the key store was written by another version")
        state = {**read["state"], "updated_at": datetime.fromisoformat(read["state"]["updated_at"])}
        return KeptAuthorities(
            authorities=AuthoritySet(
                state=AuthorityState(**state),
                authorities=tuple(map(_record, read["authorities"])),
                bundle=tuple(map(_entry, read["bundle"])),
            ),
            keys=MappingProxyType({name: _key(text) for name, text in read["keys"].items()}),
            orders=Orders(
                is_paused=bool(read["orders"]["is_paused"]),
                is_hard=bool(read["orders"]["is_hard"]),
                rotates=frozenset(map(AuthorityTier, read["orders"]["rotates"])),
                tainted=frozenset(read["orders"]["tainted"]),
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        # From None: what could not be read may be quoted in the cause.
        raise KeyStoreError("what the key store holds cannot be read") from None


def _record(document: dict[str, Any]) -> AuthorityRecord:
    moments = {
        name: None if document[name] is None else datetime.fromisoformat(document[name])
        for name in _MOMENTS
    }
    others = {
        "tier": AuthorityTier(document["tier"]),
        "status": AuthorityStatus(document["status"]),
        "certificate": base64.b64decode(document["certificate"], validate=True),
        "chain": tuple(base64.b64decode(each, validate=True) for each in document["chain"]),
    }
    return AuthorityRecord(**{**document, **moments, **others})


def _entry(document: dict[str, Any]) -> BundleEntry:
    return BundleEntry(
        **{
            **document,
            "certificate": base64.b64decode(document["certificate"], validate=True),
            "source": BundleSource(document["source"]),
        }
    )


def _key(text: str) -> AuthorityKey:
    key = load_der_private_key(base64.b64decode(text, validate=True), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("a kind of key no authority has")
    return key


def _key_bytes(key: AuthorityKey) -> str:
    return base64.b64encode(
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    ).decode()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"no document holds a {type(value).__name__}")
