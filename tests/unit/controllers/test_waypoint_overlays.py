"""Which ConfigMap holds the defaults of a class."""

import pytest

from controlplane.controllers.waypoint_overlays import class_defaults
from tests.support.waypoint_objects import a_config_map

LABEL = {"gateway.istio.io/defaults-for-class": "istio-waypoint"}
OLD = a_config_map("b", "istio-system", labels=LABEL, created=1.0)
NEW = a_config_map("a", "istio-system", labels=LABEL, created=2.0)


@pytest.mark.proves("WO-21")
def test_the_oldest_is_taken() -> None:
    twin = a_config_map("c", "istio-system", labels=LABEL, created=1.0)
    for given in ([OLD, NEW, twin], [twin, NEW, OLD]):
        assert class_defaults(given, "istio-waypoint", "istio-system") is OLD


@pytest.mark.refutes("WO-21")
def test_others_are_not() -> None:
    elsewhere = a_config_map("b", "shop", labels=LABEL)
    other = {"gateway.istio.io/defaults-for-class": "other"}
    given = [elsewhere, a_config_map("d", "istio-system", labels=other)]
    assert class_defaults(given, "istio-waypoint", "istio-system") is None
