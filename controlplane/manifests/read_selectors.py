"""Kubernetes label selectors: raw JSON shape -> ``LabelSelector``."""

from typing import Final

import msgspec

from controlplane.manifests.documents import Path
from controlplane.manifests.read_fields import RefusedFieldError, one_of
from controlplane.model.labels import LabelSelector, Requirement

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


class RawRequirement(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One ``matchExpressions`` entry."""

    key: str
    operator: str
    values: list[str] | None = None


class RawSelector(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A label selector; an unknown field could only make it select more than was meant."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[RawRequirement] | None = None


def read_selector(raw: RawSelector, path: Path) -> LabelSelector:
    """Return the selector; raises RefusedFieldError for an operator that cannot be judged."""
    requirements: list[Requirement] = []
    for index, one in enumerate(raw.match_expressions or ()):
        place = (*path, "matchExpressions", index)
        operator = one_of(one.operator, _OPERATORS, (*place, "operator"))
        values = tuple(one.values or ())
        if (operator in ("In", "NotIn")) != bool(values):
            rule = "needs" if operator in ("In", "NotIn") else "takes no"
            raise RefusedFieldError((*place, "values"), f"the operator {operator} {rule} values")
        requirements.append(Requirement(key=one.key, operator=operator, values=values))
    return LabelSelector(
        labels=tuple(sorted((raw.match_labels or {}).items())), requirements=tuple(requirements)
    )
