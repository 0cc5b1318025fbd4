"""Refusals: a value that cannot be put on the wire comes in, a Problem of its object goes out.

Used by ``encoding`` and ``waypoint_encoding``, which send nothing in its place.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from controlplane.encode.errors import EncodeError
from controlplane.encode.resource import Resource
from controlplane.mesh.problems import ProblemKey
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Problem, Severity

REFUSED: Final = "encode.refused"


class Refusal(NamedTuple):
    """A value that is not sent: which object it came from, its resource name and why."""

    object: ObjectReference
    name: str
    reason: str


Sent = Resource | Refusal
"""What becomes of a value that is one resource."""


def attempt(owner: ObjectReference, encode: Callable[[], Resource]) -> Sent:
    """Return what ``encode`` makes, or the refusal of ``owner``."""
    try:
        return encode()
    except EncodeError as error:
        return Refusal(owner, error.name, error.reason)


def refusals(encoded: object) -> tuple[Refusal, ...]:
    """Return a refusal, or nothing for what can be sent: an index of these costs good values 0."""
    return (encoded,) if isinstance(encoded, Refusal) else ()


def refusal_problems(refusal: Refusal) -> Mapping[ProblemKey, Problem]:
    """Return the problem of a refusal."""
    # One object may have several resources: the name keeps their problems apart.
    key = ProblemKey(refusal.object, REFUSED, refusal.name)
    problem = Problem(
        severity=Severity.ERROR,
        code=REFUSED,
        message=f"{refusal.name!a} cannot be sent as written: {refusal.reason}",
        object=refusal.object,
    )
    return {key: problem}
