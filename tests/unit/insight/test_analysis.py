import pytest

from controlplane.insight.analysis import Level, analyse, is_in_namespace, read_suppression
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem, Severity

POLICY = ObjectReference("AuthorizationPolicy", "shop", "web")


def problem(
    code: str = "policy.http-attribute",
    severity: Severity = Severity.WARNING,
    reference: ObjectReference | None = POLICY,
    **more: object,
) -> Problem:
    return Problem(severity=severity, code=code, message="no", object=reference, **more)  # type: ignore[arg-type]


def test_a_line_names_level_code_object_place_and_field() -> None:
    found = problem(file="a.yaml", line=7, field="spec.rules")
    assert [str(each) for each in analyse([found])] == [
        "Warning [IL0502] (AuthorizationPolicy shop/web a.yaml:7) spec.rules: no"
    ]


def test_a_line_without_object_or_place_has_no_brackets() -> None:
    found = problem(reference=None)
    assert [str(each) for each in analyse([found])] == ["Warning [IL0502] no"]


def test_the_worst_come_first_and_equal_ones_once() -> None:
    found = [
        problem(severity=Severity.INFO),
        problem(severity=Severity.ERROR, reference=POLICY._replace(name="z")),
        problem(severity=Severity.ERROR),
        problem(severity=Severity.ERROR),
    ]
    told = analyse(found)
    assert [(each.level, each.object and each.object.name) for each in told] == [
        (Level.ERROR, "web"),
        (Level.ERROR, "z"),
        (Level.INFO, "web"),
    ]


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("IL0502=AuthorizationPolicy web.shop", False),
        ("policy.http-attribute=AuthorizationPolicy web.shop", False),
        ("IL05*=AuthorizationPolicy *.shop", False),
        ("IL0502=*", False),
        ("IL0503=*", True),
        ("IL0502=AuthorizationPolicy web.other", True),
        ("IL0502=authorizationpolicy web.shop", True),
    ],
)
def test_suppressions_are_patterns_of_code_and_name(text: str, *, is_told: bool) -> None:
    told = analyse([problem()], suppressions=[read_suppression(text)])
    assert bool(told) is is_told


def test_an_object_without_namespace_is_named_by_kind_and_name() -> None:
    found = problem(reference=ObjectReference("GatewayClass", "", "waypoint"))
    assert not analyse([found], suppressions=[read_suppression("*=GatewayClass waypoint")])


@pytest.mark.parametrize("text", ["", "IL0502", "=web", "IL0502="])
def test_a_suppression_without_code_or_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not CODE=Kind"):
        read_suppression(text)


def test_a_namespace_has_its_objects_and_itself() -> None:
    assert is_in_namespace(problem(), "shop")
    assert not is_in_namespace(problem(), "other")
    assert is_in_namespace(problem(reference=ObjectReference("Namespace", "", "shop")), "shop")
    assert is_in_namespace(problem(reference=None), "other")
