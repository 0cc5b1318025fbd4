"""Programs that do not outlive us: whatever ends this process, what it started ends as well.

The kernel is asked to kill the program when the thread that started it ends; where the kernel
cannot be asked, an orderly end of the interpreter does it. Each program has a session of its own,
so that a Ctrl-C in a terminal reaches it through us alone.
"""

import asyncio
import atexit
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

# Runs between fork and the program, in an interpreter that has imported nothing of ours. The
# parent may have died before the kernel was asked, hence the look at who it is.
_LAUNCHER: Final = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_running: set[asyncio.subprocess.Process] = set()


async def launch(path: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start the program; its output, both kinds, is read from ``stdout``.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(path)),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    _running.add(process)
    return process


async def end(process: asyncio.subprocess.Process, *, patience: float) -> int:
    """Ask it to end, make it end after ``patience`` seconds, and return its exit status."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
    finally:
        status = await process.wait()
        _running.discard(process)
    return status


@atexit.register
def _end_all() -> None:
    for process in _running:
        if process.returncode is None:  # Otherwise its id may be another's by now.
            with suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
