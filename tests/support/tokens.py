"""Issuers of request tokens, their key sets, and the policies that name them."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from controlplane.manifests.istio import RequestAuthentication, TargetReference, TokenIssuer
from tests.support.builders import some_metadata
from tests.support.policy_targets import GATEWAY

ISSUER = "https://issuer.example"


@cache
def a_key(name: str = "one") -> ec.EllipticCurvePrivateKey:
    """A key of P-256, the same for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


def public_key(name: str = "one") -> dict[str, str]:
    """The key as a member of a key set."""
    found: dict[str, str] = ECAlgorithm.to_jwk(a_key(name).public_key(), as_dict=True)
    return {**found, "kid": name, "alg": "ES256", "use": "sig"}


def key_set(*names: str) -> str:
    """A key set as an issuer publishes it."""
    return json.dumps({"keys": [public_key(name) for name in names or ("one",)]})


def a_token(issuer: str = ISSUER, *, key: str = "one", age: float = 0.0, **claims: Any) -> str:
    """A token that is good for ten minutes, from ``age`` seconds ago on."""
    start = datetime.now(UTC) - timedelta(seconds=age)
    payload: dict[str, Any] = {
        "iss": issuer,
        "sub": "alice",
        "iat": start,
        "exp": start + timedelta(minutes=10),
        **claims,
    }
    headers = {"kid": key}
    return jwt.encode(payload, a_key(key), algorithm="ES256", headers=headers)


def an_issuer(issuer: str = ISSUER, **fields: Any) -> TokenIssuer:
    """One of ``jwtRules``, with the key set of key "one" unless fields say where keys are."""
    values: dict[str, Any] = {"issuer": issuer}
    if not {"keys", "keys_uri"} & fields.keys():
        values["keys"] = key_set()
    return TokenIssuer(**(values | fields))


def a_request_authentication(
    *issuers: TokenIssuer,
    name: str = "tokens",
    namespace: str = "shop",
    targets: tuple[TargetReference, ...] = (GATEWAY,),
    **metadata: Any,
) -> RequestAuthentication:
    """A RequestAuthentication for the waypoint of its namespace."""
    return RequestAuthentication(
        metadata=some_metadata(name, namespace, **metadata),
        target_references=targets,
        issuers=issuers or (an_issuer(),),
    )
