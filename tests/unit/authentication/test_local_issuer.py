"""Tokens of our own, issued and reviewed."""

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from controlplane.authentication.caller import CallerKind
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.authentication.issuer_key import FILE, IssuerKeyError, load_issuer_key
from controlplane.authentication.local_issuer import (
    ISSUER,
    LocalTokenReviews,
    TokenRequest,
    issue_token,
)
from controlplane.model.names import Name
from tests.support.authentication import PEER, an_authenticator, headers
from tests.support.dataflow_time import VirtualClock

KEY = ec.generate_private_key(ec.SECP256R1())
UIDS = {Name("istio-system", "ztunnel-a"): "uid-a"}
ZTUNNEL = TokenRequest(
    account=Name("istio-system", "ztunnel"),
    audiences=("istio-ca",),
    lifetime=timedelta(hours=1),
    pod="ztunnel-a",
    pod_uid="uid-a",
    node="node-a",
)


def authenticator_of(clock: VirtualClock, uids: dict[Name, str] | None = None) -> Any:
    pods = UIDS if uids is None else uids
    return an_authenticator(LocalTokenReviews(KEY.public_key(), clock, pods.get), clock)


async def refused(token: str, uids: dict[Name, str] | None = None) -> Reason:
    with pytest.raises(UnauthenticatedError) as caught:
        await authenticator_of(VirtualClock(), uids).authenticate(headers(token), PEER)
    return caught.value.reason


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def resigned(changes: dict[str, Any], *, key: Any = KEY, algorithm: str = "ES256") -> str:
    claims = {**claims_of(issue_token(KEY, ZTUNNEL, VirtualClock())), **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


@pytest.mark.proves("AU-40")
def test_a_token_claims_what_that_of_a_service_account_does() -> None:
    clock = VirtualClock()
    token = issue_token(KEY, ZTUNNEL, clock)
    claims = claims_of(token)
    now = int(clock.now().timestamp())
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "system:serviceaccount:istio-system:ztunnel",
        "aud": ["istio-ca"],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "kubernetes.io": {
            "namespace": "istio-system",
            "serviceaccount": {"name": "ztunnel", "uid": ""},
            "pod": {"name": "ztunnel-a", "uid": "uid-a"},
            "node": {"name": "node-a", "uid": ""},
        },
    }
    assert jwt.get_unverified_header(token)["alg"] == "ES256"


@pytest.mark.proves("AU-42", "AU-43")
async def test_it_is_accepted_by_the_path_of_every_token() -> None:
    clock = VirtualClock()
    token = issue_token(KEY, ZTUNNEL, clock)
    caller = await authenticator_of(clock).authenticate(headers(token), PEER)
    assert caller.account == ZTUNNEL.account
    assert (caller.pod_name, caller.pod_uid, caller.node_name) == ("ztunnel-a", "uid-a", "node-a")
    assert caller.credential_id == claims_of(token)["jti"]
    assert caller.kind is CallerKind.LOCAL_TOKEN


@pytest.mark.proves("AU-42")
async def test_a_token_without_a_pod_is_bound_to_none() -> None:
    clock = VirtualClock()
    request = TokenRequest(
        account=Name("a", "b"), audiences=("other", "istio-ca"), lifetime=timedelta(minutes=1)
    )
    token = issue_token(KEY, request, clock)
    caller = await authenticator_of(clock).authenticate(headers(token), PEER)
    assert not caller.is_bound_to_pod


@pytest.mark.refutes("AU-42")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://kubernetes.default.svc"},
        {"iss": None},
        {"sub": None},
        {"jti": None},
        {"nbf": None},
        {"iat": None},
        {"nbf": 4_000_000_000},
        {"nbf": "soon"},
        {"exp": VirtualClock().now().timestamp()},
        {"sub": ["system:serviceaccount:a:b"]},
    ],
)
async def test_other_claims_are_rejected(changes: dict[str, Any]) -> None:
    assert await refused(resigned(changes)) is Reason.REJECTED


@pytest.mark.refutes("AU-42")
async def test_users_that_are_no_service_accounts_are_not_made_so() -> None:
    unbound: dict[str, Any] = {"kubernetes.io": None}
    for sub in ("alice", "system:serviceaccount:a", "system:node:a:b"):
        assert await refused(resigned({"sub": sub, **unbound})) is Reason.NOT_A_SERVICE_ACCOUNT


@pytest.mark.refutes("AU-42")
async def test_other_keys_and_algorithms_are_rejected() -> None:
    public = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for key, algorithm in (
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (public, "HS256"),
        (None, "none"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    ):
        token = resigned({}, key=key, algorithm=algorithm)
        # A token without a signature is not even shaped like one.
        expected = Reason.NOT_A_JWT if algorithm == "none" else Reason.REJECTED
        assert await refused(token) is expected


@pytest.mark.refutes("AU-43")
async def test_tokens_of_pods_that_are_not_there_are_rejected() -> None:
    token = issue_token(KEY, ZTUNNEL, VirtualClock())
    for uids in (
        {},
        {Name("istio-system", "ztunnel-a"): "uid-b"},
        {Name("a", "ztunnel-a"): "uid-a"},
    ):
        assert await refused(token, uids) is Reason.REJECTED


@pytest.mark.proves("AU-41")
def test_the_key_is_made_once_and_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first, second = load_issuer_key(folder), load_issuer_key(folder)
    assert first.private_numbers() == second.private_numbers()
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == [FILE]


@pytest.mark.refutes("AU-41")
def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    load_issuer_key(tmp_path)
    for mode in (0o640, 0o604, 0o660):
        (tmp_path / FILE).chmod(mode)
        with pytest.raises(IssuerKeyError, match="only its owner"):
            load_issuer_key(tmp_path)


@pytest.mark.refutes("AU-41")
def test_links_and_other_keys_are_refused_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / FILE
    elsewhere = tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    with pytest.raises(IssuerKeyError):
        load_issuer_key(tmp_path)
    assert not elsewhere.exists()
    path.unlink()
    other = ec.generate_private_key(ec.SECP384R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, says in ((pem, "P-256"), (b"canary", "not an unencrypted PEM key")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(IssuerKeyError, match=says) as caught:
            load_issuer_key(tmp_path)
        assert "canary" not in str(caught.value)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(IssuerKeyError):
        load_issuer_key(tmp_path)


def test_a_key_that_another_user_left_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_issuer_key(tmp_path)
    owner = (tmp_path / FILE).stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(IssuerKeyError, match="another user"):
        load_issuer_key(tmp_path)
