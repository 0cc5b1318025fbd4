"""What every controller offers to the process that runs it.

In: the committed mesh and a lead, given at construction. Out: writes to the API server while the
lead lasts, and what is wrong with single objects (docs/protocol/replicas.md RP-6, RP-7).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from controlplane.controllers.queue import Trouble


class Controller(Protocol):
    """Keeps one sort of object the way the mesh wants it."""

    @property
    def name(self) -> str:
        """Return its name for people: log, readiness and metrics; never the same for two."""
        ...

    # Any: the keys are hashable and each controller's own, and a Mapping is invariant in them.
    @property
    def troubles(self) -> Mapping[Any, Trouble]:
        """Return what is wrong now, by object; ``str`` of a key names the object to people."""
        ...

    async def run(self) -> None:
        """Work until cancelled; never ends by itself.

        Acts only while its lead lasts, and starts over with everything when a lead is gained.
        """
        ...
