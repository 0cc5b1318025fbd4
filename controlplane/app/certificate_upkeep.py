"""What certificates need now and then: roots of a given authority published, the ledger trimmed."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from controlplane.ca.file_key_store import replace_file
from controlplane.ca.given_authority import GivenAuthority
from controlplane.clock import Clock
from controlplane.store.errors import StoreError
from controlplane.store.ledger import Ledger

_HOUR: Final = 3600.0
_WATCH: Final = 5.0

_log = structlog.get_logger()


async def publish_roots(given: GivenAuthority, path: Path, clock: Clock) -> None:
    """Keep the root file at ``path`` equal to the given roots until cancelled."""
    while True:
        await clock.sleep(_WATCH)
        try:
            await asyncio.to_thread(write_roots, given, path)
        except OSError as error:
            _log.warning("root-file.unwritten", reason=error.strerror or str(error))


def write_roots(given: GivenAuthority, path: Path) -> None:
    """Write the given roots to ``path`` where they differ; raises OSError."""
    snapshot = given.current()
    if snapshot is None:
        return
    text = snapshot.bundle.encode()
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text, mode=0o644)


async def retain(ledger: Ledger, days: int, clock: Clock) -> None:
    """Drop whole segments of the ledger that are older than ``days``, hourly, until cancelled."""
    while True:
        try:
            await ledger.drop_segments(closed_before=clock.now() - timedelta(days=days))
        except StoreError as error:
            _log.warning("ledger.retention_failed", reason=str(error))
        await clock.sleep(_HOUR)
