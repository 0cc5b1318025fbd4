"""A folder -> a hint whenever something under it may have changed.

Hints may come for nothing and several changes may share one: ``files`` looks for itself. The
operating system's notifications are used, with a regular hint besides, because they miss what
happens behind links and on network folders.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import awatch

Watch = Callable[[Path, float], AsyncIterator[None]]
"""Called with the folder and the seconds after which a hint is due anyway."""

_QUIET_MILLISECONDS: Final = 10
_LONGEST_MILLISECONDS: Final = 100


async def watch_folder(root: Path, seconds: float) -> AsyncIterator[None]:
    """Hint at changes under ``root``; ends when ``root`` is not there or not the same any more."""
    identity = _identity(root)
    if identity is None:
        return
    notices = awatch(
        root,
        watch_filter=None,
        debounce=_LONGEST_MILLISECONDS,
        step=_QUIET_MILLISECONDS,
        rust_timeout=int(seconds * 1000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    try:
        async with aclosing(notices) as open_notices:
            async for _ in open_notices:
                yield
                if _identity(root) != identity:
                    return
    except (OSError, RuntimeError):
        # No notifications to be had (gone meanwhile, or the system's limit): the caller asks
        # again after a while and scans each time.
        return


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
