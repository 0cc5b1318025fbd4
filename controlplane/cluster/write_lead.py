"""Whether this process may write to the cluster: a Lease and istiod's locks in, one lead out.

Both count: other replicas of ours wait for the Lease, an istiod that is still installed waits for
its own locks (docs/protocol/leadership.md LK-1, LK-6, LK-8).
"""

import asyncio

from controlplane.clock import Clock
from controlplane.cluster.election_locks import ElectionLocks
from controlplane.cluster.lease import LeaseLeadership


class WriteLead:
    """The lead that writers act under. Implements ``cluster.apply.Lead``.

    Without ``locks`` (nobody will ever install an istiod here) the Lease alone decides.
    """

    def __init__(
        self, lease: LeaseLeadership, locks: ElectionLocks | None, *, clock: Clock
    ) -> None:
        self._lease = lease
        self._locks = locks
        self._clock = clock

    @property
    def seconds_left(self) -> float:
        """Return for how long this process may surely write; 0.0 if it may not."""
        left = self._lease.seconds_left
        return left if self._locks is None else min(left, self._locks.seconds_left)

    @property
    def reason(self) -> str:
        """Return why this process does not write, in words; "" while it does."""
        if self._lease.is_leader:
            return "" if self._locks is None else self._locks.reason
        if self._lease.trouble:
            return f"who leads cannot be found out: {self._lease.trouble}"
        holder = self._lease.holder
        if holder and holder != self._lease.identity:
            return f"another replica leads: {holder}"
        return "no replica leads at the moment"

    async def run(self) -> None:
        """Hold the locks while the Lease is ours, until cancelled; free them on the way out.

        The Lease is campaigned for elsewhere (``LeaseLeadership.run``).
        """
        locks = self._locks
        if locks is None:
            return
        try:
            while True:
                await self.campaign()
                await self._pause(locks.settings.retry)
        finally:
            # What another replica of ours holds on since, it has written since: it stays held.
            await locks.release()

    async def campaign(self) -> None:
        """Take or renew the locks if the Lease is ours; never raises."""
        if self._locks is None:
            return
        if self._lease.is_leader:
            await self._locks.campaign()
        else:
            self._locks.stop()

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the Lease is gained or lost."""
        waiting = (
            asyncio.create_task(self._clock.sleep(seconds)),
            asyncio.create_task(self._lease.changed()),
        )
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
