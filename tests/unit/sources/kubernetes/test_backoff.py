import random

import pytest

from controlplane.sources.kubernetes.backoff import Backoff, Waits
from controlplane.sources.kubernetes.following import FollowSettings

WAITS = Waits(first=0.1, most=5.0)


@pytest.mark.proves("KS-13")
def test_waits_double_up_to_the_most_and_differ() -> None:
    backoff = Backoff(random.Random(1))
    waits = [backoff.failed(WAITS) for _ in range(100)]
    for number, wait in enumerate(waits):
        whole = min(5.0, 0.1 * 2**number)
        assert whole / 2 <= wait <= whole
    assert len(set(waits)) == 100


@pytest.mark.refutes("KS-13")
def test_after_a_success_waits_are_short_again() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(50):
        backoff.failed(WAITS)
    backoff.succeeded()
    assert backoff.failed(WAITS) <= 0.1


@pytest.mark.proves("KS-13")
def test_the_longest_waits_are_as_written() -> None:
    settings = FollowSettings()
    assert (settings.unavailable.most, settings.refused.most) == (0.5, 30.0)
