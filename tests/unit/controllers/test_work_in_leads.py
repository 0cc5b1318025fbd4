import asyncio

import pytest

from controlplane.controllers.work_in_leads import while_leading
from tests.support.cluster_statuses import Lead
from tests.support.cluster_time import PassingClock, settled


async def test_work_is_done_while_leading_and_begins_anew() -> None:
    lead, begun, ended = Lead(), [], []

    async def work() -> None:
        begun.append(len(begun))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(len(ended))

    async with settled(while_leading(lead, PassingClock(), work)) as until:
        for times in (1, 2):
            lead.seconds_left = 8.0
            await until(lambda times=times: len(begun) == times)  # type: ignore[misc]
            lead.seconds_left = 0.0
            await until(lambda times=times: len(ended) == times)  # type: ignore[misc]
        lead.seconds_left = 8.0
        await until(lambda: len(begun) == 3)
    assert len(ended) == 3


async def test_a_fault_in_the_work_is_the_callers_to_know() -> None:
    async def work() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await while_leading(Lead(8.0), PassingClock(), work)
