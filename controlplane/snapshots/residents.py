"""The committed view of residents: net changes come in, pods by name and by place go out.

``ca`` and ``xds`` read it; whoever asks for a pod that a watch has yet to deliver can wait for it.
Nothing staged is visible before ``publish``.
"""

import asyncio
from collections.abc import Callable, Iterable

from controlplane.clock import Clock
from controlplane.model.names import Name
from controlplane.model.resident import LIVE_PHASES, NodeAccount, Resident

ResidentKey = Name | NodeAccount
"""One pod, or every pod of an account on a node."""


class Residents:
    """Every pod of one cluster."""

    def __init__(self, clock: Clock) -> None:
        self.is_loaded = False
        self._clock = clock
        self._pods: dict[Name, Resident] = {}
        # Ordered, so that equal histories answer equally.
        self._places: dict[NodeAccount, dict[Name, Resident]] = {}
        self._of_gateways: dict[Name, int] = {}
        self._staged: dict[Name, Resident | None] = {}
        self._waiting: dict[ResidentKey, set[asyncio.Future[None]]] = {}
        self._gone: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        """Return how many pods are committed."""
        return len(self._pods)

    def pod(self, name: Name) -> Resident | None:
        """Return the pod called ``name``."""
        return self._pods.get(name)

    def at(self, place: NodeAccount) -> tuple[Resident, ...]:
        """Return every pod of an account on a node."""
        return tuple(self._places.get(place, {}).values())

    def pods_of(self, gateway: Name) -> int:
        """Return how many pods of a Gateway have not ended. Cost: O(1)."""
        return self._of_gateways.get(gateway, 0)

    def stage(self, changes: Iterable[tuple[Name, Resident | None]]) -> None:
        """Note that each name now stands for a resident, or for nothing (None)."""
        self._staged.update(changes)

    def publish(self, *, loaded: bool = True) -> None:
        """Make everything staged visible and wake whoever waits for it.

        ``loaded`` says that every source has delivered what it held; it stays said.
        """
        staged, self._staged = self._staged, {}
        gone: list[str] = []
        woken: set[ResidentKey] = set()
        for name, new in staged.items():
            old = self._pods.get(name)
            if old is not None:
                self._remove(old)
                woken |= {name, old.place}
                if old.uid and (new is None or new.uid != old.uid):
                    gone.append(old.uid)
            if new is not None:
                self._pods[name] = new
                self._places.setdefault(new.place, {})[name] = new
                self._count(new, 1)
                woken |= {name, new.place}
        self.is_loaded = self.is_loaded or loaded
        for key in woken & self._waiting.keys():
            for future in self._waiting[key]:
                if not future.done():
                    future.set_result(None)
        for uid in gone:
            for handler in self._gone:
                handler(uid)

    def on_gone(self, handler: Callable[[str], None]) -> None:
        """Call ``handler`` with the uid of every pod that goes from now on, once it is gone."""
        self._gone.append(handler)

    async def wait_for(self, key: ResidentKey, seconds: float) -> bool:
        """Wait for a commit that changes what ``key`` holds; return whether one came in time.

        Look before waiting: what is committed already wakes nobody.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(future)
        alarm = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((future, alarm), return_when=asyncio.FIRST_COMPLETED)
            return future.done()
        finally:
            alarm.cancel()
            future.cancel()
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(key, None)

    def _remove(self, resident: Resident) -> None:
        del self._pods[resident.key]
        self._count(resident, -1)
        pods = self._places[resident.place]
        del pods[resident.key]
        if not pods:
            del self._places[resident.place]

    def _count(self, resident: Resident, more: int) -> None:
        if not resident.gateway or resident.phase not in LIVE_PHASES:
            return
        gateway = Name(resident.namespace, resident.gateway)
        count = self._of_gateways.get(gateway, 0) + more
        if count:
            self._of_gateways[gateway] = count
        else:
            self._of_gateways.pop(gateway, None)
