"""A watched folder of manifests.

Files come in as they are created, edited, renamed and deleted; objects and Problems go out to the
sink. What cannot be read keeps its last good objects; what is gone is removed
(docs/protocol/files.md). Reading is done in slices, so that the loop breathes.
"""

import asyncio
import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from controlplane.clock import Clock, SystemClock
from controlplane.manifests.documents import Limits
from controlplane.manifests.reading import SYSTEM_NAMESPACE, read_steps
from controlplane.model.problem import Problem
from controlplane.sources.holdings import Holdings
from controlplane.sources.paths import missing_path
from controlplane.sources.source import Origin, Sink
from controlplane.sources.texts import read_text
from controlplane.sources.walking import Signature, Walk, walk
from controlplane.sources.watching import Watch, watch_folder

T = TypeVar("T")

_SETTLED_NANOSECONDS: Final = 1_000_000_000
_GONE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSettings:
    """How a folder is watched.

    ``poll_seconds``: a full look at least this often, whatever the notifications say.
    ``slice_seconds``: the longest the loop is held while walking and reading.
    """

    limits: Limits = field(default_factory=Limits)
    system_namespace: str = SYSTEM_NAMESPACE
    poll_seconds: float = 5.0
    slice_seconds: float = 0.005


class _Seen:
    """A file as it was last read."""

    __slots__ = ("digest", "settled", "signature")

    def __init__(self, signature: Signature, digest: bytes, *, settled: bool) -> None:
        self.signature = signature
        self.digest = digest
        self.settled = settled


class FilesSource:
    """The manifests under one folder."""

    def __init__(
        self,
        root: Path,
        *,
        settings: FilesSettings | None = None,
        clock: Clock | None = None,
        watch: Watch = watch_folder,
    ) -> None:
        self._root = root
        self._settings = settings or FilesSettings()
        self._clock = clock or SystemClock()
        self._watch = watch
        self._holdings = Holdings(str(root))
        self._seen: dict[str, _Seen] = {}
        self._synced = False
        self._slice_end = 0.0

    async def run(self, sink: Sink) -> None:
        """Feed ``sink`` until cancelled."""
        stirred = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(stirred))
            # Watching starts before the first look, so that nothing falls between the two.
            await asyncio.sleep(0)
            while True:
                stirred.clear()
                await self.scan(sink)
                await stirred.wait()

    async def scan(self, sink: Sink) -> None:
        """Look at the whole folder once and tell ``sink`` what changed."""
        self._slice_end = self._clock.monotonic() + self._settings.slice_seconds
        try:
            found = await self._walk()
        except OSError as error:
            self._holdings.report((self._vanished(error),))
            self._tell(sink)
            return
        for file, signature in found.files.items():
            await self._look(file, signature)
            await self._breathe()
        for file in self._gone(found):
            self._holdings.forget(file)
            self._seen.pop(file, None)
        self._holdings.report(tuple(found.problems))
        self._tell(sink)
        if not self._synced:
            self._synced = True
            sink.synced()

    async def _listen(self, stirred: asyncio.Event) -> None:
        while True:
            async for _ in self._watch(self._root, self._settings.poll_seconds):
                stirred.set()
            await self._clock.sleep(min(1.0, self._settings.poll_seconds))
            stirred.set()

    async def _look(self, file: str, signature: Signature) -> None:
        """Read ``file`` if it may have changed."""
        seen = self._seen.get(file)
        if seen is not None and seen.settled and seen.signature == signature:
            return
        text = read_text(file, self._settings.limits.bytes)
        if isinstance(text, Problem):
            self._seen.pop(file, None)
            self._holdings.keep(file, text)
            return
        content, signature = text
        digest = hashlib.blake2b(content, digest_size=16).digest()
        unchanged = seen is not None and seen.digest == digest
        self._seen[file] = _Seen(signature, digest, settled=self._settled(signature))
        if not unchanged:
            steps = read_steps(
                content,
                file,
                limits=self._settings.limits,
                system_namespace=self._settings.system_namespace,
            )
            self._holdings.take(file, await self._sliced(steps))

    def _settled(self, signature: Signature) -> bool:
        """Return whether a later write must show in the signature.

        Time stamps are coarse: a second write right after the one we read may carry the same one.
        """
        now = int(self._clock.now().timestamp() * 1_000_000_000)
        return now - signature.modified > _SETTLED_NANOSECONDS

    async def _walk(self) -> Walk:
        """Walk the folder until two walks agree on what is gone; raises OSError without a folder.

        A folder being deleted loses its files first, and some editors delete before they write:
        neither may take objects away.
        """
        gone: frozenset[str] = frozenset()
        while True:
            found = await self._sliced(walk(self._root))
            still_gone = self._gone(found)
            if still_gone <= gone:
                return found
            gone = still_gone
            await self._clock.sleep(_GONE_SECONDS)

    def _gone(self, found: Walk) -> frozenset[str]:
        missing = self._holdings.files - found.files.keys()
        return frozenset(file for file in missing if found.covers(file))

    def _vanished(self, error: OSError) -> Problem:
        problem = missing_path(str(self._root), error)
        if not self._holdings.files:
            return problem
        return replace(problem, message=f"{problem.message}; its last objects are kept")

    def _tell(self, sink: Sink) -> None:
        changes = self._holdings.changes()
        for identity in changes.removals:
            sink.remove(identity.kind, identity.key)
        for manifest, origin in changes.puts:
            sink.put(manifest, origin)
        for origin, problems in changes.problems:
            sink.problems(Origin(file=origin.file), problems)

    async def _sliced(self, steps: Generator[None, None, T]) -> T:
        """Drive ``steps`` to the end, letting the loop breathe after every slice."""
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return finished.value  # type: ignore[no-any-return] # a T by the generator's type
            await self._breathe()

    async def _breathe(self) -> None:
        """Let the loop do other things when this slice of time is used up."""
        if self._clock.monotonic() >= self._slice_end:
            await asyncio.sleep(0)
            self._slice_end = self._clock.monotonic() + self._settings.slice_seconds
