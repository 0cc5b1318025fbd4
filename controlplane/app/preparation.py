"""The database of one process, made ready: at once, or in a cluster as soon as it can be.

Keys are in the cluster: whoever finds the database away serves and signs without it, and leads
only when the schema is known to be right and how far others have led (docs/protocol/ledger.md
LG-37, LG-38).
"""

from typing import Final

import structlog

from controlplane.app.errors import StartupError
from controlplane.app.kept import Kept
from controlplane.ca.errors import AuthorityError
from controlplane.clock import Clock
from controlplane.leadership import Leadership
from controlplane.store.errors import DatabaseError, StoreError

_PAUSE: Final = 1.0

_log = structlog.get_logger()


class Preparation:
    """Prepares what is ``kept``. ``awaits`` says why it is not ready yet; "" when it is."""

    def __init__(self, kept: Kept, clock: Clock) -> None:
        self._kept = kept
        self._clock = clock
        self.awaits = "it has not been looked at yet"

    async def begin(self, *, waits: bool) -> None:
        """Make the database ready; with ``waits`` one that is away is left for later.

        Raises:
            StartupError: it cannot be used.
        """
        try:
            await self._kept.prepare()
        except (StoreError, AuthorityError) as error:
            if not (waits and isinstance(error, DatabaseError)):
                raise StartupError(str(error)) from error
            self._note(str(error))
        else:
            self.awaits = ""

    async def lead(self, leadership: Leadership) -> None:
        """Run the election until cancelled, once the database is ready."""
        while self.awaits:
            await self._clock.sleep(_PAUSE)
            try:
                await self._kept.prepare()
            except (StoreError, AuthorityError) as error:
                self._note(str(error))
            else:
                self.awaits = ""
                _log.info("database.ready")
        await leadership.run()

    def _note(self, reason: str) -> None:
        if reason != self.awaits:
            _log.warning("database.awaited", reason=reason)
        self.awaits = reason
