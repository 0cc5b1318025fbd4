"""The source in memory."""

import asyncio

import pytest

from controlplane.manifests.core import Pod
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.reading import identity_of
from controlplane.sources.memory import MemorySource
from tests.support.sources import RecordingSink


async def test_only_the_last_word_counts() -> None:
    first, second = (Pod(metadata=Metadata(name="a", uid=uid)) for uid in ("1", "2"))
    source = MemorySource([first])
    sink = RecordingSink()
    running = asyncio.ensure_future(source.run(sink))
    await sink.until(lambda s: s.synced_times == 1)
    source.put(second)
    source.remove(identity_of(first))
    source.put(second)
    await sink.until(lambda s: len(s.calls) == 3)
    assert sink.calls == [("put", "/a"), ("synced", None), ("put", "/a")]
    source.remove(identity_of(Pod(metadata=Metadata(name="nobody"))))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(sink.calls) == 3
