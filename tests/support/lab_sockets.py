"""What tests with sockets of their own do at their end."""

import asyncio

_TURNS = 10


async def all_closed() -> None:
    """Let the loop close what was told to close: a transport does it in its next turns."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
