import pytest

from controlplane.mesh.wishes import (
    Ingress,
    NamespaceWishes,
    Wish,
    canary_wish,
    ingress_wish,
    namespace_wishes,
    waypoint_wish,
)
from controlplane.model.names import Name

USE = "istio.io/use-waypoint"


@pytest.mark.proves("WP-10", "WP-12")
@pytest.mark.parametrize("value", ["w", "", "~", "None", "a b"])
def test_every_value_but_none_names_a_waypoint(value: str) -> None:
    assert waypoint_wish({USE: value}, "ns") == Wish(Name("ns", value))
    assert waypoint_wish({USE: "none"}, "ns") == Wish(None)


@pytest.mark.proves("WP-11")
def test_the_namespace_label_says_where_the_waypoint_is() -> None:
    labels = {USE: "w", f"{USE}-namespace": "infra"}
    assert waypoint_wish(labels, "ns") == Wish(Name("infra", "w"))


@pytest.mark.refutes("WP-10", "WP-11")
def test_without_the_label_nothing_is_wanted() -> None:
    assert waypoint_wish({f"{USE}-namespace": "infra"}, "ns") is None
    assert waypoint_wish({}, "ns") is None


@pytest.mark.proves("WP-30")
@pytest.mark.refutes("WP-30")
def test_canary_wishes() -> None:
    canary = "istio.io/use-waypoint-canary"
    assert canary_wish({canary: "c"}, "ns") == Wish(Name("ns", "c"))
    assert canary_wish({canary: "c", f"{canary}-namespace": "x"}, "ns") == Wish(Name("x", "c"))
    assert canary_wish({canary: ""}, "ns") == Wish(None)
    assert canary_wish({canary: "none"}, "ns") == Wish(None)
    assert canary_wish({f"{canary}-namespace": "x"}, "ns") is None


@pytest.mark.proves("WP-40")
@pytest.mark.parametrize("value", ["1", "t", "T", "true", "True", "TRUE"])
def test_ingress_yes(value: str) -> None:
    assert ingress_wish({"istio.io/ingress-use-waypoint": value}) == Ingress(
        wanted=True, readable=True
    )


@pytest.mark.refutes("WP-40", "WP-41")
@pytest.mark.parametrize(
    ("value", "readable"), [("false", True), ("0", True), ("", False), ("eurt", False)]
)
def test_ingress_no(value: str, readable: bool) -> None:
    wish = ingress_wish({"istio.io/ingress-use-waypoint": value})
    assert wish == Ingress(wanted=False, readable=readable)
    assert ingress_wish({}) is None


def test_a_namespace_that_says_nothing_has_no_wishes() -> None:
    assert namespace_wishes({"other": "x"}, {"y": "z"}, "ns") == NamespaceWishes()
