"""The buckets new streams pass."""

import pytest

from controlplane.xds.rate import TokenBucket, TokenBuckets
from tests.support.discovery import FakeClock


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.time += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]


@pytest.mark.parametrize("idle", [10.0, 1e6])
def test_idle_time_saves_no_more_than_a_burst(idle: float) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    clock.time += idle
    assert sum(bucket.take() for _ in range(10)) == 3


def test_what_is_owed_is_paid_back_with_time() -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    bucket.charge(7)
    clock.time += 2
    assert not bucket.take()
    clock.time += 0.5
    assert bucket.take()


def test_keys_have_a_bucket_each_and_the_oldest_is_forgotten() -> None:
    buckets = TokenBuckets[str](rate=1, burst=1, clock=FakeClock(), remembered=2)
    assert [buckets.take(key) for key in ("a", "a", "b", "a")] == [True, False, True, False]
    assert buckets.take("c")
    assert len(buckets) == 2
    # "b" went: it was used before "a" was.
    assert [buckets.take(key) for key in ("a", "b")] == [False, True]
