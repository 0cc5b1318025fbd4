"""Every pair of manifests and routes in this directory."""

from pathlib import Path

import pytest
import yaml

from tests.conformance.http_routes.pairs import HERE, expectation, manifests, outcome

PATHS = manifests()


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_pair(path: Path) -> None:
    assert outcome(path) == yaml.safe_load(expectation(path).read_text())


def test_every_expectation_has_its_manifests() -> None:
    assert set(HERE.glob("*.expected.yaml")) == {expectation(path) for path in PATHS}
