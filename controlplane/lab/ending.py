"""Ends that are bounded: what does not end in time is left, so that everything else still ends."""

import asyncio
from collections.abc import Awaitable
from typing import Final

_SECONDS: Final = 5.0


async def ended(end: Awaitable[object], *, seconds: float = _SECONDS) -> bool:
    """Wait for ``end``, and give it up after ``seconds``; return whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await end
    except TimeoutError:
        return False
    return True
