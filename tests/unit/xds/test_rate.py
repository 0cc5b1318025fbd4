"""The bucket new streams pass."""

import pytest

from controlplane.xds.rate import TokenBucket
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
