"""Certificates of a node: when they are asked for, and what is used when nobody answers."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.errors import LabError
from controlplane.lab.node.certificates import NodeCertificates
from controlplane.lab.ztunnel.client import Target
from tests.support.hbone_certificates import an_identity, held
from tests.support.issuing import SetClock

WEB, SLEEP = an_identity("web"), an_identity("sleep")
LIFE = timedelta(hours=2)


class Authority:
    """Signs for two hours from the clock's time on, and counts; or refuses."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC).replace(microsecond=0)
        self.clock = SetClock(self.began)
        self.asked: list[str] = []
        self.refuses = False

    async def __call__(
        self, target: Target, identity: str, token: Callable[[], str]
    ) -> HeldCertificate:
        await asyncio.sleep(0)
        assert token() == "a token"
        self.asked.append(identity)
        if self.refuses:
            raise LabError("nobody is there")
        return held(identity, begins=self.clock.now() - datetime.now(UTC), life=LIFE)

    def certificates(self) -> NodeCertificates:
        target = Target(address="127.0.0.1:1")
        return NodeCertificates(target, lambda: "a token", self.clock, fetch=self)

    def after(self, **time: float) -> None:
        self.clock.seconds = timedelta(**time).total_seconds()


async def test_each_identity_is_asked_for_once_however_many_want_it() -> None:
    authority = Authority()
    certificates = authority.certificates()
    found = await asyncio.gather(*(certificates.of(each) for each in (WEB, WEB, SLEEP, WEB)))
    assert [each.identity for each in found] == [WEB, WEB, SLEEP, WEB]
    assert sorted(authority.asked) == [SLEEP, WEB]
    assert [each.identity for each in certificates.held] == [SLEEP, WEB]


async def test_half_of_its_life_is_used() -> None:
    authority = Authority()
    certificates = authority.certificates()
    first = await certificates.of(WEB)
    authority.after(minutes=58)
    assert (await certificates.of(WEB)).serial == first.serial
    authority.after(minutes=61)
    assert (await certificates.of(WEB)).serial != first.serial


async def test_while_nobody_answers_the_old_one_is_used_until_it_ends() -> None:
    authority = Authority()
    certificates = authority.certificates()
    first = await certificates.of(WEB)
    authority.refuses = True
    authority.after(minutes=115)
    assert (await certificates.of(WEB)).serial == first.serial
    authority.after(minutes=121)
    with pytest.raises(LabError, match="nobody is there"):
        await certificates.of(WEB)
    authority.refuses = False
    assert (await certificates.of(WEB)).serial != first.serial


async def test_what_is_forgotten_is_asked_for_again() -> None:
    authority = Authority()
    certificates = authority.certificates()
    first = await certificates.of(WEB)
    certificates.forget()
    assert certificates.held == ()
    assert (await certificates.of(WEB)).serial != first.serial
