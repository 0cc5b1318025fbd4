import pytest

from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem, Severity


def test_problems_are_keyed_by_object_code_and_field() -> None:
    pod = ObjectReference("Pod", "shop", "web")
    whole = Problem(severity=Severity.ERROR, code="a.b", message="m", object=pod)
    assert problem_key(whole) == ProblemKey(pod, "a.b", "")
    part = Problem(severity=Severity.ERROR, code="a.b", message="m", object=pod, field="spec.x")
    assert problem_key(part) == ProblemKey(pod, "a.b", "spec.x")


def test_a_problem_of_the_mesh_rules_names_its_object() -> None:
    with pytest.raises(ValueError, match="names its object"):
        problem_key(Problem(severity=Severity.ERROR, code="a.b", message="m"))
