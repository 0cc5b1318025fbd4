"""Refusals: a value that cannot be put on the wire comes in, a Problem of its object goes out.

Used by ``encoding`` and ``waypoint_encoding``, which send nothing in its place.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from controlplane.encode.errors import EncodeError
from controlplane.encode.http_route import RouteFault
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
    return _refused(refusal, refusal.name)


def fault_problems(fault: RouteFault) -> Mapping[ProblemKey, Problem]:
    """Return the problem of a route that is not sent as written, though its port has routes."""
    # Several matches of a rule share its name: the reason keeps their problems apart.
    return _refused(fault, f"{fault.name}: {fault.reason}")


def _refused(refused: Refusal | RouteFault, place: str) -> Mapping[ProblemKey, Problem]:
    problem = Problem(
        severity=Severity.ERROR,
        code=REFUSED,
        message=f"{refused.name!a} cannot be sent as written: {refused.reason}",
        object=refused.object,
    )
    return {ProblemKey(refused.object, REFUSED, place): problem}
