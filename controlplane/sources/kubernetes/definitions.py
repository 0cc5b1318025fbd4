"""Which custom kinds the cluster has: its CustomResourceDefinitions in, who waits for one is woken.

A definition is gone when its deletion was seen, or when a whole list no longer names it. That a
kind answers 404 says nothing (docs/protocol/cluster.md KS-9, KS-10).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from controlplane.cluster.errors import ClusterError
from controlplane.sources.kubernetes.wire import (
    Definition,
    NotUnderstoodError,
    read_definition,
)

Troubled = Callable[[ClusterError | NotUnderstoodError | None], None]


class Definitions:
    """The definitions by name, as a receiver of their follower.

    ``names`` are those that matter. ``troubled`` is told why they cannot be read, None when they
    can again.
    """

    def __init__(self, names: frozenset[str], troubled: Troubled) -> None:
        self._names = names
        self._tell_troubled = troubled
        self._found: dict[str, Definition] = {}
        self._listed: set[str] = set()
        self._is_known = False
        self._turn = asyncio.Event()

    @property
    def is_known(self) -> bool:
        """Tell whether there was one whole list."""
        return self._is_known

    def __len__(self) -> int:
        return len(self._found)

    async def known(self) -> None:
        """Wait until there was one whole list."""
        while not self._is_known:
            await self._turn.wait()

    def get(self, name: str) -> Definition | None:
        """Return the definition, None when the cluster has none of that name."""
        return self._found.get(name)

    async def until_other_than(self, name: str, definition: Definition | None) -> None:
        """Wait until ``name`` is no longer what ``definition`` says."""
        while self.get(name) == definition:
            await self._turn.wait()

    def list_began(self) -> None:
        """Take note that a list starts, maybe again."""
        self._listed = set()

    def listed(self, text: msgspec.Raw) -> None:
        """Take one definition of the list."""
        # One of another shape is not about our kinds: theirs are as the API server writes them.
        with suppress(NotUnderstoodError):
            definition = read_definition(text)
            self._listed.add(definition.name)
            self._take(definition)

    def list_ended(self) -> None:
        """Forget what the list did not name."""
        for name in self._found.keys() - self._listed:
            del self._found[name]
        self._is_known = True
        self._wake()

    def happened(self, event: str, text: msgspec.Raw) -> None:
        """Take one event."""
        with suppress(NotUnderstoodError):
            definition = read_definition(text)
            if event == "DELETED":
                self._found.pop(definition.name, None)
            else:
                self._take(definition)
            self._wake()

    def heard(self) -> None:
        """Take note that the API server answered."""
        self._tell_troubled(None)

    def troubled(self, error: ClusterError | NotUnderstoodError) -> None:
        """Take note that definitions cannot be read for now."""
        self._tell_troubled(error)

    def _take(self, definition: Definition) -> None:
        if definition.name in self._names:
            self._found[definition.name] = definition

    def _wake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()
