"""What a waypoint is sent, as a whole."""

from pathlib import Path

import pytest
import yaml

from tests.conformance.waypoint_config.snapshots import expectation, manifests, snapshot


@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.stem)
def test_a_waypoint_is_sent(path: Path) -> None:
    assert snapshot(path) == yaml.safe_load(expectation(path).read_text())
