"""Who is let in, as whom, and what those who are not are told."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.admin.access import AccessSettings, AdminAccess, host_name, is_loopback
from controlplane.admin.errors import RefusedError
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)
from tests.support.admin import ADMIN_TOKEN, KnownAccounts

SETTINGS = AccessSettings(
    root_namespaces=lambda: {"istio-system"},
    audiences=("istio-ca",),
    admin_token_file=Path("/somewhere/admin-token"),
)
LOCAL = {"host": ["localhost:15014"]}


class Refusing:
    """Refuses every token with one error."""

    def __init__(self, error: AuthenticationError) -> None:
        self._error = error

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        raise self._error


def access(settings: AccessSettings = SETTINGS, token: str = ADMIN_TOKEN) -> AdminAccess:
    return AdminAccess(settings, authenticator=KnownAccounts(), admin_token=token)


async def refusal(
    peer: str, headers: dict[str, list[str]], made: AdminAccess | None = None
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await (made or access()).viewer(peer, headers)
    return caught.value


def bearer(*tokens: str) -> dict[str, list[str]]:
    return {"authorization": [f"Bearer {token}" for token in tokens], **LOCAL}


@pytest.mark.proves("AM-1")
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_is_trusted(peer: str) -> None:
    assert await access().viewer(peer, LOCAL) == EVERYTHING


@pytest.mark.refutes("AM-1")
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "", "localhost"])
async def test_nobody_else_is_trusted(peer: str) -> None:
    assert (await refusal(peer, LOCAL)).status == 401


@pytest.mark.refutes("AM-1")
async def test_this_machine_is_not_trusted_where_that_is_off() -> None:
    made = access(replace(SETTINGS, trusts_loopback=False))
    assert (await refusal("127.0.0.1", LOCAL, made)).status == 401


@pytest.mark.proves("AM-2")
@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-real-ip", "cf-connecting-ip"],
)
async def test_what_was_forwarded_is_not_trusted(name: str) -> None:
    assert (await refusal("127.0.0.1", {name: ["127.0.0.1"], **LOCAL})).status == 401
    assert (await refusal("10.0.0.1", {name: ["127.0.0.1"], **LOCAL})).status == 401


@pytest.mark.refutes("AM-2")
async def test_what_was_forwarded_may_show_a_token() -> None:
    headers = {"x-forwarded-for": ["10.0.0.1"], **bearer(ADMIN_TOKEN)}
    assert (await access().viewer("10.0.0.9", headers)).sees_all


@pytest.mark.proves("AM-3")
@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["localhost.evil.example:15014"],
        ["127.0.0.1.evil.example"],
        ["[::2]:15014"],
        ["localhost", "evil.example"],
        [""],
        [],
    ],
)
async def test_names_that_a_web_page_can_make_up_are_refused(hosts: Sequence[str]) -> None:
    headers = {"host": list(hosts)} if hosts else {}
    found = await refusal("127.0.0.1", headers)
    assert found.status == 403
    assert "localhost" in str(found)


@pytest.mark.refutes("AM-3")
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:15014", "[::1]:15014", "mesh.internal:1"]
)
async def test_names_of_this_machine_are_accepted(host: str) -> None:
    made = access(replace(SETTINGS, hosts=frozenset({"mesh.internal"})))
    assert await made.viewer("127.0.0.1", {"host": [host]}) == EVERYTHING


@pytest.mark.refutes("AM-3")
async def test_who_shows_a_token_may_use_any_name() -> None:
    headers = bearer(ADMIN_TOKEN) | {"host": ["istiod.istio-system.svc:15014"]}
    assert (await access().viewer("127.0.0.1", headers)).sees_all


@pytest.mark.proves("AM-4")
async def test_a_token_decides_on_loopback_too() -> None:
    assert (await refusal("127.0.0.1", bearer("made-up"))).status == 401
    found = await access().viewer("127.0.0.1", bearer("shop/cart"))
    assert found == Viewer(name="service account shop/cart", namespace="shop")


@pytest.mark.refutes("AM-4")
async def test_without_a_token_the_place_decides() -> None:
    assert (await access().viewer("127.0.0.1", LOCAL)).sees_all


@pytest.mark.proves("AM-5")
async def test_accounts_of_the_root_namespace_see_everything() -> None:
    found = await access().viewer("10.0.0.1", bearer("istio-system/kiali"))
    assert found == Viewer(name="service account istio-system/kiali", namespace=None)


@pytest.mark.proves("AM-5")
async def test_who_is_refused_is_told_what_is_needed() -> None:
    for headers, error in ((LOCAL, ""), (bearer("made-up"), "invalid_token")):
        found = await refusal("10.0.0.1", headers)
        assert found.status == 401
        assert found.headers["www-authenticate"].startswith('Bearer realm="istiod-lite"')
        assert error in found.headers["www-authenticate"]
        assert "Authorization: Bearer" in str(found)
        assert "istio-ca" in str(found)
        assert "admin-token" in str(found)
        assert "/somewhere" not in str(found)


@pytest.mark.refutes("AM-5")
async def test_who_is_refused_is_not_told_why() -> None:
    tokens = [
        await refusal("10.0.0.1", bearer("x"), AdminAccess(SETTINGS, authenticator=Refusing(each)))
        for each in (UnauthenticatedError(reason) for reason in Reason)
    ]
    assert len({str(each) for each in tokens}) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedCredentialsError(Reason.SEVERAL_CREDENTIALS), 400),
        (AuthenticationLimitedError(Reason.TOO_MANY_REVIEWS), 429),
        (AuthenticationUnavailableError(Reason.REVIEW_FAILED), 503),
    ],
)
async def test_what_is_not_the_tokens_fault_is_told_apart(
    error: AuthenticationError, status: int
) -> None:
    made = AdminAccess(SETTINGS, authenticator=Refusing(error))
    found = await refusal("10.0.0.1", bearer("a/b"), made)
    assert found.status == status
    assert ("retry-after" in found.headers) == (status != 400)


@pytest.mark.proves("AM-6")
async def test_the_admin_token_sees_everything() -> None:
    assert (await access().viewer("10.0.0.1", bearer(ADMIN_TOKEN))).sees_all


@pytest.mark.refutes("AM-6")
@pytest.mark.parametrize("token", ["", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "é"])
async def test_what_is_nearly_the_admin_token_is_nothing(token: str) -> None:
    made = AdminAccess(SETTINGS, admin_token=ADMIN_TOKEN)
    assert (await refusal("10.0.0.1", bearer(token), made)).status == 401


@pytest.mark.refutes("AM-6")
async def test_without_an_admin_token_an_empty_one_is_not_accepted() -> None:
    made = AdminAccess(SETTINGS)
    found = await refusal("10.0.0.1", bearer(""), made)
    assert str(found) == "The token is not accepted. Only this machine is served here."


async def test_two_tokens_are_not_judged_by_the_first() -> None:
    made = AdminAccess(SETTINGS, admin_token=ADMIN_TOKEN)
    assert (await refusal("10.0.0.1", bearer(ADMIN_TOKEN, "x"), made)).status == 401


def test_addresses_and_names_are_read_as_they_are() -> None:
    assert is_loopback("::1%lo")
    assert not is_loopback("1.2.3.4")
    assert host_name("[::1]:80") == "::1"
    assert host_name("Localhost.:80") == "localhost"
