"""How the mesh rules key what they find wrong: by object, code and field."""

from typing import NamedTuple

from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem


class ProblemKey(NamedTuple):
    """One finding about one object; ``field`` is "" when it concerns the whole object."""

    object: ObjectReference
    code: str
    field: str


def problem_key(problem: Problem) -> ProblemKey:
    """Return the key of a problem that a mesh rule found.

    Raises:
        ValueError: the problem names no object; mesh rules only judge objects.
    """
    if problem.object is None:
        raise ValueError(f"a problem of the mesh rules names its object: {problem.message}")
    return ProblemKey(problem.object, problem.code, problem.field or "")
