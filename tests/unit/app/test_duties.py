import asyncio

import pytest

from controlplane.app.duties import Duties


async def _work(name: str, ended: list[str], *, turns: int = 0) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(name)


@pytest.mark.proves("RP-12")
async def test_writing_ends_before_the_lead_is_given_up_and_that_before_the_rest() -> None:
    ended: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        duties = Duties(tasks)
        duties.keep({"source": _work("source", ended)})
        duties.lead({"lease": _work("lease", ended)})
        duties.write({"locks": _work("locks", ended), "writers": _work("writers", ended, turns=9)})
        await asyncio.sleep(0)
        await duties.resign()
        assert ended == ["writers", "locks", "lease"]
        await duties.end()
    assert ended == ["writers", "locks", "lease", "source"]


@pytest.mark.refutes("RP-12")
async def test_giving_up_the_lead_ends_nothing_that_serves() -> None:
    ended: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        duties = Duties(tasks)
        duties.keep({"source": _work("source", ended)})
        await asyncio.sleep(0)
        await duties.resign()
        assert ended == []
        await duties.end()
