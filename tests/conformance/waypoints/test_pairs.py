"""Every pair of a Gateway and what it is deployed as in this directory."""

from pathlib import Path

import pytest
import yaml

from tests.support.waypoint_objects import objects_of, read_pair, written

HERE = Path(__file__).parent
NAMES = sorted(
    path.stem for path in HERE.glob("*.yaml") if not path.name.endswith(".expected.yaml")
)


@pytest.mark.parametrize("name", NAMES)
def test_pair(name: str) -> None:
    expected = yaml.safe_load((HERE / f"{name}.expected.yaml").read_text())
    found = written(objects_of(read_pair(HERE / f"{name}.yaml")))
    if expected.pop("bootstrap", "stated") == "elsewhere":
        # One pair states the files of the proxy; the others are about something else.
        for item in found["objects"]:
            item.pop("data", None)
        template = next(item for item in found["objects"] if item["kind"] == "Deployment")
        del template["spec"]["template"]["metadata"]["annotations"]["istiod-lite/bootstrap-digest"]
    assert found == expected


def test_every_expectation_has_its_gateway() -> None:
    stems = {path.name.removesuffix(".expected.yaml") for path in HERE.glob("*.expected.yaml")}
    assert stems == set(NAMES)
    assert stems
