from dataclasses import replace

import pytest

from controlplane.ca.errors import RateLimitedError
from controlplane.ca.limits import Limits, RateLimits
from tests.support.issuing import WAYPOINT, ZTUNNEL, SetClock

SMALL = RateLimits(rate_per_caller=10, burst_per_caller=5, rate=1000, burst=8, callers=3)


def admitted(limits: Limits, caller: object, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            limits.admit(caller)  # type: ignore[arg-type]
        except RateLimitedError:
            continue
        count += 1
    return count


@pytest.mark.proves("CA-6")
def test_a_burst_then_a_rate() -> None:
    clock = SetClock()
    limits = Limits(SMALL, clock)
    assert admitted(limits, ZTUNNEL, 20) == 5
    clock.seconds += 0.31
    assert admitted(limits, ZTUNNEL, 20) == 3
    clock.seconds += 60
    assert admitted(limits, ZTUNNEL, 20) == 5


@pytest.mark.refutes("CA-6")
def test_what_one_asks_too_often_costs_the_others_nothing() -> None:
    limits = Limits(SMALL, SetClock())
    assert admitted(limits, ZTUNNEL, 1000) == 5
    assert admitted(limits, WAYPOINT, 3) == 3


def test_everybody_together() -> None:
    limits = Limits(SMALL, SetClock())
    admitted(limits, ZTUNNEL, 5)
    assert admitted(limits, WAYPOINT, 5) == 3
    with pytest.raises(RateLimitedError) as caught:
        limits.admit(WAYPOINT)
    assert caught.value.reason_code == "overall-rate"


def test_callers_are_pods_of_a_cluster_or_else_accounts() -> None:
    limits = Limits(replace(SMALL, burst=1000, burst_per_caller=1), SetClock())
    for caller in (
        ZTUNNEL,
        replace(ZTUNNEL, cluster="other"),
        replace(ZTUNNEL, pod_uid=""),
        replace(ZTUNNEL, pod_uid="", service_account="other"),
    ):
        assert admitted(limits, caller, 2) == 1


def test_memory_is_bounded() -> None:
    limits = Limits(replace(SMALL, burst=1000), SetClock())
    for number in range(50):
        limits.admit(replace(ZTUNNEL, pod_uid=str(number)))
    assert len(limits._even_at) == 3


@pytest.mark.parametrize("fields", [{"rate": 0}, {"burst_per_caller": 0}, {"callers": 0}])
def test_limits_that_let_nobody_in(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"positive|at least"):
        RateLimits(**fields)
