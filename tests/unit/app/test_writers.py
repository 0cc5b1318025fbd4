from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from controlplane.app.cluster_observation import measure_troubles, troubled
from controlplane.app.writers import kept_running, unknown_places
from controlplane.cluster.apply import Outcome
from controlplane.controllers.queue import Trouble
from controlplane.metrics import Metrics
from tests.support.cluster_time import PassingClock, settled


@dataclass
class Keeper:
    """A controller that fails ``faults`` times."""

    faults: int = 0
    runs: int = 0
    name: str = "keeper"
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    clock: PassingClock = field(default_factory=PassingClock)

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.faults:
            raise LookupError("a fault")
        while True:
            await self.clock.sleep(1.0)


def a_trouble(*, is_given_up: bool = False) -> Trouble:
    return Trouble(outcome=Outcome.FORBIDDEN, message="no", tries=1, is_given_up=is_given_up)


@pytest.mark.proves("RP-7")
async def test_a_controller_that_fails_starts_over(capsys: pytest.CaptureFixture[str]) -> None:
    keeper = Keeper(faults=2)
    async with settled(kept_running(keeper, keeper.clock)) as until:
        await until(lambda: len(keeper.clock.slept) > 10)
    assert keeper.runs == 3
    assert keeper.clock.slept[:2] == [5.0, 5.0]
    assert capsys.readouterr().out.count("controller.failed") == 2


@pytest.mark.refutes("RP-7")
async def test_one_that_works_is_left_alone() -> None:
    keeper = Keeper()
    async with settled(kept_running(keeper, keeper.clock)) as until:
        await until(lambda: len(keeper.clock.slept) > 10)
    assert keeper.runs == 1


@pytest.mark.proves("RP-10")
def test_objects_in_trouble_are_named_the_first_few_of_each_controller() -> None:
    troubles = {f"ns-{number}": a_trouble(is_given_up=number == 0) for number in range(5)}
    assert troubled([Keeper(troubles=troubles)]) == (
        "keeper: ns-0 is not written, forbidden: no (given up until it changes)",
        "keeper: ns-1 is not written, forbidden: no (tried again)",
        "keeper: ns-2 is not written, forbidden: no (tried again)",
        "keeper: and 2 more",
    )


@pytest.mark.refutes("RP-10")
def test_nothing_is_said_where_all_is_well() -> None:
    assert troubled([Keeper()]) == ()


def test_troubles_are_counted_and_forgotten() -> None:
    metrics = Metrics("1").cluster
    sample = ("istiod_lite_write_troubles", {"controller": "keeper", "outcome": "forbidden"})
    measure_troubles(metrics, [Keeper(troubles={"a": a_trouble(), "b": a_trouble()})])
    (found,) = metrics.write_troubles.collect()
    assert [(each.name, each.labels, each.value) for each in found.samples] == [(*sample, 2.0)]
    measure_troubles(metrics, [Keeper()])
    (found,) = metrics.write_troubles.collect()
    assert found.samples == []


def test_a_place_nobody_writes_to_stands_for_those_that_are_not_known() -> None:
    assert unknown_places("Kubernetes") == {("Kubernetes", "ConfigMap", "*/istio-ca-root-cert")}
