"""Every pair of manifests and expectation in this directory."""

from pathlib import Path

import pytest

from tests.support.ambient import read_pair, run_pair

HERE = Path(__file__).parent
NAMES = sorted(
    path.stem for path in HERE.glob("*.yaml") if not path.name.endswith(".expected.yaml")
)


@pytest.mark.parametrize("name", NAMES)
def test_pair(name: str) -> None:
    run_pair(read_pair(HERE / f"{name}.yaml"))


def test_every_expectation_has_its_manifests() -> None:
    stems = {path.name.removesuffix(".expected.yaml") for path in HERE.glob("*.expected.yaml")}
    assert stems == set(NAMES)
