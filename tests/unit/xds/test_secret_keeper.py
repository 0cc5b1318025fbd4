"""The key of one stream: when it is made, when it is replaced, and where it never is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.authentication.caller import Caller
from controlplane.encode.envelope import SECRET_TYPE
from controlplane.errors import IstiodLiteError
from controlplane.snapshots.catalog import Catalog
from controlplane.xds.secret_keeper import Holder, SecretKeeper
from controlplane.xds.session import Session
from tests.support.dataflow_time import VirtualClock, let_run
from tests.support.discovery import a_request, acknowledge, parsed, taken
from tests.support.issuing import WAYPOINT as CALLER
from tests.support.waypoint_discovery import (
    a_waypoint_session,
    from_waypoint,
    put,
    some_endpoints,
)

LIFE = 100.0
BOTH = ("default", "ROOTCA")


@dataclass
class Issued:
    chain: bytes
    key: bytes
    not_after: datetime
    authority_id: str


@dataclass
class Issuer:
    """Numbers the keys it makes."""

    clock: VirtualClock
    roots: bytes | None = b"root 1"
    authority: str = "one"
    fails: bool = False
    callers: list[tuple[Caller, str]] = field(default_factory=list)

    async def issue_identity(self, caller: Caller, peer: str) -> Issued:
        self.callers.append((caller, peer))
        if self.fails:
            raise IstiodLiteError("no authority")
        number = len(self.callers)
        return Issued(
            chain=f"chain {number}".encode(),
            key=f"key {number}".encode(),
            not_after=self.clock.now() + timedelta(seconds=LIFE),
            authority_id=self.authority,
        )

    def trusted_roots(self) -> bytes | None:
        return self.roots

    def authority_id(self) -> str:
        return self.authority


@dataclass
class Rig:
    clock: VirtualClock
    issuer: Issuer
    session: Session
    keeper: SecretKeeper
    catalog: Catalog
    nonces: list[str] = field(default_factory=list)

    async def ask(self, *names: str, known: dict[str, str] | None = None) -> list[Any]:
        request = a_request(SECRET_TYPE, subscribe=names, known=known)
        self.session.receive(request if self.session.node else from_waypoint(request))
        self.keeper.asked()
        await let_run()
        return self.sent()

    async def after(self, seconds: float) -> list[Any]:
        for _ in range(int(seconds)):
            await self.clock.advance(1.0)
        return self.sent()

    def sent(self) -> list[Any]:
        """Return secrets that go out now, and accept them."""
        responses = taken(self.session)
        acknowledge(self.session, *responses)
        assert not any(parsed(each).removed_resources for each in responses)
        return [
            secret_pb2.Secret.FromString(each.resource.value)
            for response in responses
            for each in parsed(response).resources
        ]


@asynccontextmanager
async def a_rig(caller: Caller | None = CALLER) -> AsyncIterator[Rig]:
    clock, catalog = VirtualClock(), Catalog()
    issuer = Issuer(clock)
    session = a_waypoint_session(catalog, clock)  # type: ignore[arg-type] # any clock will do
    keeper = SecretKeeper(
        issuer,
        Holder(caller=caller, peer="peer"),
        subscription=lambda: session.secrets,
        wake=lambda: None,
        clock=clock,
        draw=lambda: 0.5,
    )
    task = asyncio.create_task(keeper.run())
    yield Rig(clock, issuer, session, keeper, catalog)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def keys(secrets: list[Any]) -> list[bytes]:
    return [
        each.tls_certificate.private_key.inline_bytes for each in secrets if each.name != "ROOTCA"
    ]


def refuse(rig: Rig, message: str = "no such curve") -> list[str]:
    """Refuse every response that goes out now; return the names that were in them."""
    names: list[str] = []
    for response in map(parsed, taken(rig.session)):
        names += [each.name for each in response.resources]
        rig.session.receive(a_request(SECRET_TYPE, nonce=response.nonce, error=message))
    return names


@pytest.mark.proves("WS-26")
async def test_a_key_that_is_refused_is_shown_and_not_sent_again() -> None:
    async with a_rig() as rig:
        rig.session.receive(from_waypoint(a_request(SECRET_TYPE, subscribe=["default"])))
        rig.keeper.asked()
        await let_run()
        assert refuse(rig) == ["default"]
        assert keys(await rig.after(3)) == []
        refused = rig.session.subscriptions[SECRET_TYPE]
        assert (refused.last_error, refused.rejected) == ("no such curve", ("default",))


@pytest.mark.proves("WS-26")
async def test_a_key_that_is_refused_with_roots_is_replaced_at_once() -> None:
    async with a_rig() as rig:
        rig.session.receive(from_waypoint(a_request(SECRET_TYPE, subscribe=BOTH)))
        rig.keeper.asked()
        await let_run()
        assert refuse(rig, "bad roots") == ["ROOTCA", "default"]
        # The roots come by themselves, and are what is wrong; the new key does not go with them.
        assert refuse(rig, "bad roots") == ["ROOTCA"]
        assert keys(await rig.after(2)) == [b"key 2"]
        refused = rig.session.subscriptions[SECRET_TYPE]
        assert refused.rejected == ("ROOTCA",)
        assert keys(await rig.after(10)) == []


@pytest.mark.refutes("WS-26")
async def test_a_key_that_is_refused_by_itself_too_waits_for_its_time() -> None:
    async with a_rig() as rig:
        rig.session.receive(from_waypoint(a_request(SECRET_TYPE, subscribe=BOTH)))
        rig.keeper.asked()
        await let_run()
        assert refuse(rig) == ["ROOTCA", "default"]
        assert [each.name for each in rig.sent()] == ["ROOTCA"]
        await rig.clock.advance(1.0)
        assert refuse(rig) == ["default"]
        assert keys(await rig.after(10)) == []
        assert len(rig.issuer.callers) == 2
        assert keys(await rig.after(LIFE / 2)) == [b"key 3"]
        assert rig.session.subscriptions[SECRET_TYPE].last_error == ""


@pytest.mark.proves("WS-20", "WS-23")
async def test_a_key_is_made_for_the_caller_of_the_stream_and_roots_come_along() -> None:
    async with a_rig() as rig:
        secrets = await rig.ask(*BOTH)
        assert {each.name for each in secrets} == set(BOTH)
        assert keys(secrets) == [b"key 1"]
        assert rig.issuer.callers == [(CALLER, "peer")]


@pytest.mark.refutes("WS-20")
@pytest.mark.proves("WS-2")
async def test_who_was_not_authenticated_gets_roots_and_no_key() -> None:
    async with a_rig(caller=None) as rig:
        secrets = await rig.ask(*BOTH)
        assert [each.name for each in secrets] == ["ROOTCA"]
        assert await rig.after(100) == []
        assert rig.issuer.callers == []


@pytest.mark.proves("WS-21")
async def test_a_key_is_sent_once_and_not_kept() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        subscription = rig.session.secrets
        assert subscription is not None
        assert "key 1" not in repr(vars(subscription))
        assert not any("default" in each for each in [subscription._offered])
        # Whoever asks again gets another.
        assert keys(await rig.ask("default")) == [b"key 2"]


@pytest.mark.refutes("WS-21")
async def test_roots_are_kept_for_whoever_asks_again() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        assert [each.name for each in await rig.ask("ROOTCA")] == ["ROOTCA"]
        assert len(rig.issuer.callers) == 1


@pytest.mark.proves("WS-22")
async def test_a_key_is_replaced_at_about_half_of_its_life() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        assert await rig.after(LIFE * 0.44) == []
        assert keys(await rig.after(LIFE * 0.12)) == [b"key 2"]


@pytest.mark.proves("WS-22")
async def test_a_key_is_replaced_when_another_authority_signs() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        rig.issuer.authority = "two"
        assert keys(await rig.after(2)) == [b"key 2"]
        assert await rig.after(5) == []


@pytest.mark.refutes("WS-22")
async def test_a_key_nobody_asks_for_any_more_is_not_replaced() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        rig.session.receive(a_request(SECRET_TYPE, unsubscribe=["default"]))
        rig.sent()
        assert await rig.after(LIFE) == []
        rig.issuer.authority = ""
        assert len(rig.issuer.callers) == 1


@pytest.mark.proves("WS-23")
async def test_new_roots_are_sent_by_themselves() -> None:
    async with a_rig() as rig:
        await rig.ask(*BOTH)
        rig.issuer.roots = b"root 1 root 2"
        (secret,) = await rig.after(2)
        assert secret.validation_context.trusted_ca.inline_bytes == b"root 1 root 2"


@pytest.mark.refutes("WS-23")
async def test_roots_that_did_not_change_are_not_sent_again() -> None:
    async with a_rig() as rig:
        await rig.ask("ROOTCA")
        assert await rig.after(30) == []
        rig.issuer.roots = None
        assert await rig.after(30) == []


@pytest.mark.proves("WS-24")
async def test_without_an_authority_the_client_hears_nothing_until_there_is_one() -> None:
    async with a_rig() as rig:
        rig.issuer.fails, rig.issuer.roots = True, None
        assert await rig.ask(*BOTH) == []
        assert await rig.after(60) == []
        tries = len(rig.issuer.callers)
        assert 3 <= tries <= 7
        rig.issuer.fails, rig.issuer.roots = False, b"root 1"
        assert {each.name for each in await rig.after(62)} == set(BOTH)


@pytest.mark.refutes("WS-24")
async def test_a_failure_is_forgotten_once_a_key_was_made() -> None:
    async with a_rig() as rig:
        rig.issuer.fails = True
        await rig.ask(*BOTH)
        await rig.after(40)
        rig.issuer.fails = False
        await rig.after(62)
        rig.issuer.fails = True
        tries = len(rig.issuer.callers)
        rig.issuer.authority = "two"
        await rig.after(3)
        assert len(rig.issuer.callers) - tries >= 2


@pytest.mark.proves("WS-25")
async def test_a_client_that_comes_back_gets_a_new_key_and_the_roots_it_lacks() -> None:
    async with a_rig() as rig:
        secrets = await rig.ask(*BOTH, known={"default": "of another stream", "ROOTCA": "stale"})
        assert keys(secrets) == [b"key 1"]
        assert len(secrets) == 2


@pytest.mark.refutes("WS-25")
async def test_a_client_that_comes_back_is_not_sent_roots_it_has() -> None:
    async with a_rig() as rig:
        await rig.ask("ROOTCA")
        subscription = rig.session.secrets
        assert subscription is not None
        version = subscription._held["ROOTCA"]
    async with a_rig() as rig:
        assert keys(await rig.ask(*BOTH, known={"ROOTCA": version})) == [b"key 1"]
        assert rig.sent() == []


async def test_other_secrets_come_from_the_tables_of_the_waypoint() -> None:
    async with a_rig() as rig:
        put(rig.catalog, secret=[some_endpoints("bundle")])
        request = a_request(SECRET_TYPE, subscribe=["bundle", "unknown"])
        rig.session.receive(from_waypoint(request))
        (answer,) = taken(rig.session)
        assert [each.name for each in parsed(answer).resources] == ["bundle"]
        assert list(parsed(answer).removed_resources) == ["unknown"]
