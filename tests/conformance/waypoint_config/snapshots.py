"""Manifests of this directory and everything that their waypoint is sent.

``python -m tests.conformance.waypoint_config.snapshots`` writes the expectations anew.
"""

from pathlib import Path
from typing import Any

import yaml

from controlplane.manifests.reading import read_documents
from controlplane.snapshots.scope import WAYPOINT_TYPES
from tests.support.waypoint_snapshots import SHORT, Waypoints

HERE = Path(__file__).parent


def manifests() -> list[Path]:
    return sorted(path for path in HERE.glob("*.yaml") if not path.name.endswith(".expected.yaml"))


def expectation(path: Path) -> Path:
    return path.with_name(f"{path.stem}.expected.yaml")


def snapshot(path: Path) -> dict[str, list[Any]]:
    """Documents by kind of discovery, sorted by name; nothing may be wrong with the manifests."""
    reading = read_documents(path.read_text())
    assert reading.readable
    assert reading.problems == ()
    waypoints = Waypoints()
    waypoints.apply(*(document.manifest for document in reading.documents))
    return {
        SHORT[type_url]: list(waypoints.documents(type_url).values()) for type_url in WAYPOINT_TYPES
    }


def write() -> None:
    """Write every expectation."""
    for path in manifests():
        text = yaml.safe_dump(snapshot(path), sort_keys=True, width=100)
        expectation(path).write_text(text)


if __name__ == "__main__":
    write()
