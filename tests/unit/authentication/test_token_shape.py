"""Tokens that are refused before anybody verifies them."""

import math
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.authentication.errors import (
    AuthenticationError,
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)
from controlplane.authentication.token_shape import bearer_token, check_shape
from tests.support.authentication import AUDIENCES, a_token

NOW = 1_000_000.0


def claiming(payload: bytes) -> str:
    return f"e30.{urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


def refused(token: str) -> Reason:
    with pytest.raises(UnauthenticatedError) as caught:
        check_shape(token, AUDIENCES, NOW)
    return caught.value.reason


@pytest.mark.proves("AU-1", "AU-2")
@pytest.mark.parametrize("value", ["Bearer a.b.c", ("Bearer a.b.c",), ["Bearer a.b.c"]])
def test_one_bearer_token_is_read(value: Any) -> None:
    assert bearer_token({"authorization": value}) == "a.b.c"


@pytest.mark.refutes("AU-1", "AU-2")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((), Reason.NO_CREDENTIALS),
        (("Bearer ",), Reason.NO_CREDENTIALS),
        (("bearer a.b.c",), Reason.NOT_BEARER),
        (("Basic a.b.c",), Reason.NOT_BEARER),
        (("Bearer",), Reason.NOT_BEARER),
        (("a.b.c",), Reason.NOT_BEARER),
    ],
)
def test_missing_and_other_credentials_are_refused(values: tuple[str, ...], reason: Reason) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        bearer_token({"authorization": values})
    assert caught.value.reason is reason


@pytest.mark.refutes("AU-1")
def test_two_credentials_are_malformed() -> None:
    with pytest.raises(MalformedCredentialsError) as caught:
        bearer_token({"authorization": ("Bearer a.b.c", "Bearer a.b.c")})
    assert caught.value.reason is Reason.SEVERAL_CREDENTIALS


@pytest.mark.proves("AU-3", "AU-4", "AU-5")
@pytest.mark.parametrize("aud", ["istio-ca", ("other", "istio-ca")])
def test_a_token_for_us_that_is_valid_passes(aud: Any) -> None:
    assert check_shape(a_token(aud=aud, exp=NOW + 5), AUDIENCES, NOW) == NOW + 5


@pytest.mark.refutes("AU-3")
@pytest.mark.parametrize(
    "token",
    [
        "",
        "abc",
        "a.b",
        "a.b.c.d",
        "a..c",
        "a.!.c",
        "a.b.c\n",
        "ä.b.c",
        "a.A.c",
        claiming(b"[]"),
        claiming(b"null"),
        claiming(b"{"),
        claiming(b"\xff\xfe"),
        claiming(b"[" * 11_000),
        claiming(b'{"exp": ' + b"9" * 5_000 + b"}"),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token) is Reason.NOT_A_JWT


@pytest.mark.refutes("AU-3")
def test_a_token_of_more_than_16_kib_is_refused() -> None:
    token = a_token(exp=NOW + 5).ljust(16 * 1024, "x")
    assert check_shape(token, AUDIENCES, NOW) == NOW + 5
    assert refused(token + "x") is Reason.TOO_LONG


@pytest.mark.refutes("AU-4")
@pytest.mark.parametrize(
    "aud", [None, "api", ("api", "other"), (), 7, {"istio-ca": 1}, "istio-ca "]
)
def test_tokens_for_others_are_refused(aud: Any) -> None:
    claims = {} if aud is None else {"aud": aud}
    assert refused(a_token(**{"aud": None, **claims})) is Reason.WRONG_AUDIENCE


@pytest.mark.proves("AU-5")
def test_a_token_that_expired_less_than_a_minute_ago_is_left_to_the_review() -> None:
    assert check_shape(a_token(exp=NOW - 59), AUDIENCES, NOW) == NOW - 59


@pytest.mark.refutes("AU-5")
@pytest.mark.parametrize("exp", [None, NOW - 60, 0, -1, "4000000000", True, math.nan, [4e9]])
def test_expired_tokens_and_strange_expiries_are_refused(exp: Any) -> None:
    assert refused(a_token(exp=exp)) is Reason.EXPIRED


def test_an_expiry_beyond_all_time_is_taken_for_a_far_one() -> None:
    assert check_shape(a_token(exp=10**400), AUDIENCES, NOW) == 2**53


@given(st.text() | st.binary().map(claiming))
@pytest.mark.proves("AU-36")
def test_nothing_else_ever_happens_and_nothing_is_quoted(token: str) -> None:
    error: AuthenticationError | None = None
    try:
        check_shape(token, AUDIENCES, NOW)
    except AuthenticationError as raised:
        error = raised
    assert error is None or (str(error) in set(Reason) and error.__cause__ is None)
