"""Whether a real Envoy accepts a static configuration, asked of several at once."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from controlplane.encode.static_bootstrap import static_bootstrap
from controlplane.lab.envoy_binary import envoy_path
from controlplane.lab.placeholder_secrets import some_secrets

__all__ = ["some_secrets", "validate"]

_FIRST_PORT = 20000
_SECONDS = 60


def validate(resources: Iterable[Mapping[str, Any]], directory: Path) -> str | None:
    """What an Envoy has against the static resources of these waypoints, None when nothing.

    They are asked about together: each is renamed and given a port of its own.
    """
    merged: dict[str, list[Any]] = {"listeners": [], "clusters": []}
    for number, each in enumerate(resources):
        renamed = _told_apart(each, number)
        for kind, values in merged.items():
            values.extend(renamed[kind])
    return validate_bootstrap(static_bootstrap(merged), directory)


def validate_bootstrap(bootstrap: Mapping[str, Any], directory: Path) -> str | None:
    """What an Envoy has against a bootstrap, None when nothing."""
    path = directory / "envoy.json"
    path.write_text(json.dumps(bootstrap))
    done = subprocess.run(
        [str(envoy_path()), "--mode", "validate", "-c", str(path), "--log-level", "error"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return None if done.returncode == 0 else (done.stderr + done.stdout)[-4000:]


def _told_apart(resources: Mapping[str, Any], number: int) -> dict[str, Any]:
    names = {each["name"] for values in resources.values() for each in values}

    def walk(value: Any) -> Any:
        match value:
            case str() if value in names:
                return f"{value}@{number}"
            case list():
                return [walk(each) for each in value]
            case dict():
                return {
                    key: _FIRST_PORT + number
                    if key == "port_value" and each == 15008
                    else walk(each)
                    for key, each in value.items()
                }
            case _:
                return value

    walked: dict[str, Any] = walk(dict(resources))
    return walked
