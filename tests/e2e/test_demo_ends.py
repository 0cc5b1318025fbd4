"""However the demo ends, no program that it started outlives it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from controlplane.lab.envoy_binary import find_envoy

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(find_envoy() is None, reason="there is no Envoy for this machine"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]
COMMAND = [sys.executable, "-m", "controlplane.cli.main", "demo", "--json"]
WITH_WAYPOINT = 5


@contextmanager
def a_demo(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the demo until its waypoint serves; yields it with the id of its Envoy."""
    demo = subprocess.Popen(
        COMMAND,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            told = json.loads(line)
            assert told["passed"], line
            if told["number"] == WITH_WAYPOINT:
                break
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        yield demo, int(*[child for child in children if _is_envoy(int(child))])
    finally:
        with suppress(ProcessLookupError):
            demo.kill()
        demo.communicate()


def _is_envoy(pid: int) -> bool:
    with suppress(OSError):
        return b"--config-path" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _until(condition: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it_and_leaves_no_file(tmp_path: Path, number: int) -> None:
    with a_demo(tmp_path) as (demo, envoy):
        began = time.monotonic()
        demo.send_signal(number)
        assert demo.wait(timeout=10) == 1
        # Less than a Ctrl-C's user waits before pressing it again.
        assert time.monotonic() - began < 5
        assert not _is_envoy(envoy)
        assert list(tmp_path.iterdir()) == []


def test_the_envoy_of_a_demo_that_was_killed_ends_with_it(tmp_path: Path) -> None:
    with a_demo(tmp_path) as (demo, envoy):
        demo.kill()
        demo.wait(timeout=10)
        _until(lambda: not _is_envoy(envoy), 5)
        # Its own folder is all that nobody could remove any more.
        left = [path.name for path in tmp_path.iterdir()]
        assert all(re.fullmatch(r"istiod-lite-demo-\w+", name) for name in left)
        assert len(left) == 1
    with a_demo(tmp_path) as (_, other):
        assert other != envoy
