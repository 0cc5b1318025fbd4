"""Processes that obey: orders in on stdin, answers out on stdout, JSON lines both."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any

Order = dict[str, Any]


async def obey(carry_out: Callable[[Order], Awaitable[dict[str, Any]]]) -> None:
    """Carry out orders one by one, until one says ``quit``."""
    orders: asyncio.Queue[Order] = asyncio.Queue()
    Thread(target=_listen, args=(asyncio.get_running_loop(), orders), daemon=True).start()
    while True:
        order = await orders.get()
        answer = {} if "quit" in order else await carry_out(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "quit" in order:
            return


def _listen(loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[Order]) -> None:
    """Hand on orders; when nobody is left to give any, end at once, whatever is under way."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
    os._exit(0)
