"""Driving load clients from the process that serves them: orders in, answers out.

Start processes before anything of gRPC exists here: what forks later is warned about.
"""

import asyncio
import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

LIMIT = 120.0
"""Seconds any order may take."""


class LoadProcess:
    """One process of load clients, those of ``module``, ended when the block is left."""

    def __init__(self, module: str = "tests.bench.load") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    async def order(self, **order: Any) -> dict[str, Any]:
        """Give an order and return its answer."""
        async with asyncio.timeout(LIMIT):
            return await asyncio.get_running_loop().run_in_executor(None, self._exchange, order)

    def _exchange(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the load process has no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
