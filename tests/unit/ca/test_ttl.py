from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ca.errors import LifetimeError, UnavailableError
from controlplane.ca.ttl import LifetimePolicy, lifetime, validity

NOW = datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)
DAY = 86_400


@pytest.mark.refutes("CA-20")
def test_a_lifetime_that_was_asked_for() -> None:
    assert lifetime(600, LifetimePolicy(), draw=0) == 600
    assert lifetime(0, LifetimePolicy(), draw=0) == DAY


@pytest.mark.proves("CA-22", "CA-21")
def test_the_cap_and_what_is_drawn() -> None:
    policy = LifetimePolicy()
    assert lifetime(policy.maximum, policy, draw=0) == DAY
    assert lifetime(DAY, policy, draw=1) == int(DAY * 0.95)
    assert lifetime(DAY, policy, draw=0, narrowed=7200) == 7200
    assert lifetime(1, policy, draw=0.99) == 1


@pytest.mark.refutes("CA-22")
def test_a_short_lifetime_is_not_lengthened() -> None:
    assert lifetime(600, LifetimePolicy(), draw=0, narrowed=7200) == 600


@given(st.integers(), st.floats(0, 1, exclude_max=True), st.none() | st.floats(1, 10**9))
def test_lifetimes_are_within_bounds(asked: int, draw: float, narrowed: float | None) -> None:
    policy = LifetimePolicy()
    if asked > policy.maximum:
        with pytest.raises(LifetimeError):
            lifetime(asked, policy, draw=draw, narrowed=narrowed)
    else:
        assert 1 <= lifetime(asked, policy, draw=draw, narrowed=narrowed) <= policy.cap


def bounds(begins: datetime, ends: datetime, seconds: int = DAY) -> tuple[datetime, datetime]:
    found = validity(NOW, seconds, backdate=120, signer_not_before=begins, signer_not_after=ends)
    return found.not_before, found.not_after


@pytest.mark.proves("CA-23")
def test_within_the_signer() -> None:
    long_ago, much_later = WHOLE - timedelta(days=9), WHOLE + timedelta(days=9)
    assert bounds(long_ago, much_later) == (
        WHOLE - timedelta(minutes=2),
        WHOLE + timedelta(days=1),
    )
    just_now, soon = WHOLE - timedelta(seconds=1), WHOLE + timedelta(seconds=1)
    assert bounds(just_now, soon) == (just_now, soon)


@pytest.mark.refutes("CA-23")
@pytest.mark.parametrize(("begins", "ends"), [(-9, 0), (-9, -1), (1, 9)])
def test_a_signer_out_of_its_time(begins: int, ends: int) -> None:
    with pytest.raises(UnavailableError):
        bounds(WHOLE + timedelta(days=begins), WHOLE + timedelta(days=ends))


@pytest.mark.parametrize(
    "fields", [{"default": 0}, {"default": 9, "maximum": 8}, {"cap": 0}, {"jitter": 1.0}]
)
def test_policies_that_make_no_sense(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"lifetime"):
        LifetimePolicy(**fields)
