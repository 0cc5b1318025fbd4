"""Measuring: what the machine is, how much memory is in use, medians and percentiles."""

import gc
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, Any]:
    """Return what the numbers were taken on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "optimised_build": "--enable-optimizations" in _configured(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "uvloop": version("uvloop"),
    }


def _configured() -> str:
    import sysconfig

    return str(sysconfig.get_config_var("CONFIG_ARGS") or "")


def resident() -> float:
    """Return the memory this process holds now, in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6


def settled_resident() -> float:
    """Return the memory in use, in MB, once garbage is gone."""
    gc.collect()
    return resident()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """Return ``result`` with three significant decimals, for people."""
    return {
        key: round(value, 3 if abs(value) < 10 else 1) if isinstance(value, float) else value
        for key, value in result.items()
    }
