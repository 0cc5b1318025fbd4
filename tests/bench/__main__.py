"""Runs benchmarks, each in a fresh process, and prints what they gave as JSON lines.

``python -m tests.bench [NAME...] [--small]``; without names, all of them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from tests.bench import (
    admin,
    build,
    certificates,
    change,
    cluster,
    fan_out,
    first_sync,
    waypoints,
)
from tests.bench.measure import machine, rounded
from tests.bench.mesh import Sizes

_LIMIT: Final = 300
"""Seconds one process may take."""

_FEW: Final = Sizes(pods=2_000, services=200, policies=20, namespaces=10, nodes=10)
_MANY: Final = Sizes(pods=10_000)
_MOST: Final = Sizes(pods=100_000)
_FEW_TURNS: Final = waypoints.Turns(pods=20, edits=5, services=4)
Emit = Callable[[dict[str, Any]], None]


def _cases(*, small: bool) -> Mapping[str, Callable[[Emit], None]]:
    """Return every process to start, by ``name`` or ``name/variant``."""
    if small:
        return {
            "build/2000": partial(build.run, pods_wanted=2_000, small=True),
            "change": partial(change.run, small=True),
            "fan_out/20": partial(fan_out.run, clients=20, rounds=5),
            "first_sync": partial(first_sync.run, clients=10, small=True),
            "cluster/start": partial(cluster.start, sizes=_FEW, events=2_000),
            "cluster/follow": partial(
                cluster.follow, sizes=_FEW, pace=cluster.Pace(rate=200, seconds=3, clients=10)
            ),
            "certificates/rate": partial(certificates.rate, seconds=1),
            "certificates/burst": partial(certificates.burst, nodes=40),
            "certificates/hostile": partial(certificates.hostile, times=16),
            "admin": partial(admin.run, small=True),
            "waypoints/one": partial(waypoints.one, services=30, turns=_FEW_TURNS),
            "waypoints/many": partial(waypoints.many, waypoints=5, envoys=1, turns=_FEW_TURNS),
        }
    return {
        "build/10000": partial(build.run, pods_wanted=10_000, small=False),
        "build/100000": partial(build.run, pods_wanted=100_000, small=False),
        "change": partial(change.run, small=False),
        "fan_out/100": partial(fan_out.run, clients=100, rounds=30),
        "fan_out/1000": partial(fan_out.run, clients=1_000, rounds=30),
        "fan_out/2000": partial(fan_out.run, clients=2_000, rounds=20),
        "first_sync": partial(first_sync.run, clients=100, small=False),
        "cluster/start/10000": partial(cluster.start, sizes=_MANY, events=100_000),
        "cluster/start/100000": partial(cluster.start, sizes=_MOST, events=100_000),
        "cluster/follow": partial(
            cluster.follow, sizes=_MANY, pace=cluster.Pace(rate=1_000, seconds=60, clients=100)
        ),
        "certificates/rate": partial(certificates.rate, seconds=10),
        "certificates/burst": partial(certificates.burst, nodes=1_000),
        "certificates/hostile": partial(certificates.hostile, times=64),
        "admin": partial(admin.run, small=False),
        "waypoints/one/200": partial(waypoints.one, services=200, turns=waypoints.Turns()),
        "waypoints/one/1000": partial(waypoints.one, services=1_000, turns=waypoints.Turns()),
        "waypoints/many": partial(waypoints.many, waypoints=50, envoys=3, turns=waypoints.Turns()),
    }


def main() -> int:
    """Run what the command line asks for; 0 when every process ended well."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="build, change, fan_out, ...")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = _cases(small=arguments.small)
    if arguments.child:
        cases[arguments.child](lambda result: _say(rounded(result)))
        return 0
    known = {case.partition("/")[0] for case in cases} | set(cases)
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(cases)}")
    _say({"machine": machine()})
    failed = 0
    for case in cases:
        if not arguments.names or {case, case.partition("/")[0]} & set(arguments.names):
            failed |= _run(case, small=arguments.small)
    return failed


def _run(case: str, *, small: bool) -> int:
    command = [sys.executable, "-m", "tests.bench", "--child", case, *["--small"] * small]
    try:
        return int(subprocess.run(command, timeout=_LIMIT, check=False).returncode != 0)
    except subprocess.TimeoutExpired:
        _say({"bench": case, "error": f"took longer than {_LIMIT} s"})
        return 1


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
