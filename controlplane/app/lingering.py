"""What lingers at waypoints: what they are asked to serve comes in, what they were asked goes out.

Node proxies hear that a service is bound elsewhere, or nowhere, after its waypoint does; until the
last of them did, the waypoint goes on serving it. docs/protocol/waypoint-sessions.md WS-40 to 44.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from controlplane.clock import Clock
from controlplane.dataflow import Batcher, Change
from controlplane.mesh.waypoint_services import Claim
from controlplane.model.waypoint_traffic import ServedBefore
from controlplane.pipeline.assembly import Pipeline

MOST: Final = 10_000
"""Services that may linger at once; of more, those that began first end early."""


class Lingering:
    """Remembers for ``pipeline``, through ``batcher``, what is bound, and for ``seconds`` what was.

    What is bound is remembered too, and changes nothing: it is there when that ends, so that no
    commit comes between the binding and what lingers of it.
    """

    def __init__(
        self, pipeline: Pipeline, batcher: Batcher, clock: Clock, *, seconds: float
    ) -> None:
        self._before = pipeline.inputs.served_before
        self._batcher = batcher
        self._clock = clock
        self._seconds = seconds
        self._remembered: set[ServedBefore] = set()
        # In the order in which they end: each begins later than those before it.
        self._endings: dict[ServedBefore, float] = {}
        self._begun = asyncio.Event()
        if seconds > 0:
            pipeline.world.traffic.claims.subscribe(self._changed)

    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Return what has to run."""
        return {"lingering services": self._run()}

    async def _run(self) -> None:
        while True:
            await self._begun.wait()
            while self._endings:
                key, ends = next(iter(self._endings.items()))
                seconds = ends - self._clock.monotonic()
                if seconds > 0:
                    await self._clock.sleep(seconds)
                else:
                    self._forget(key)
            self._begun.clear()

    def _changed(self, changes: Sequence[Change[ServedBefore, Claim]]) -> None:
        for key, _, claim in changes:
            if claim is None:
                self._forget(key)
            elif claim.is_lingering:
                self._endings.setdefault(key, self._clock.monotonic() + self._seconds)
                self._begun.set()
            else:
                self._endings.pop(key, None)
                if key not in self._remembered:
                    self._remembered.add(key)
                    self._batcher.put(self._before, key)
        while len(self._endings) > MOST:
            self._forget(next(iter(self._endings)))

    def _forget(self, key: ServedBefore) -> None:
        self._endings.pop(key, None)
        if key in self._remembered:
            self._remembered.discard(key)
            self._batcher.remove(self._before, key)
