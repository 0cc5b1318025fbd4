"""The rights that the chart gives are the rows of the table in its README, and nothing more."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.chart import CHART, NAMESPACE, cases, documents, environment, of_kind
from tests.support.kubernetes_access import Grant, grants_of

HEAD = "| where | API group | resources |"
LEAST = {
    "`status.enabled=false`",
    "`status.enabled=false` and `serviceEntryAddresses.enabled=false`",
    "`waypoints.enabled=false`",
    "`webhook.enabled=false`",
    "`respectsIstiod=false`",
}
GIVEN = {"`authority.istioCaSecret`"}


class Row(NamedTuple):
    grants: frozenset[Grant]
    why: str
    removed_by: str


def rows() -> Iterator[Row]:
    lines = iter((CHART / "README.md").read_text().splitlines())
    for line in lines:
        if line.startswith(HEAD):
            break
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        where, group, resources, names, verbs, why, removed_by = (
            cell.strip() for cell in line.strip("|").split("|")
        )
        assert where in {"cluster", "own"}
        found = frozenset(
            Grant(verb, "" if group == "core" else group, resource, place, name)
            for verb in verbs.split(", ")
            for resource in resources.split(", ")
            for name in names.split(", ")
            for place in ("" if where == "cluster" else NAMESPACE,)
        )
        yield Row(found, why, removed_by)


def granted(case: str) -> frozenset[Grant]:
    account = environment(case)["ISTIOD_LITE_CONTROL_PLANE_ACCOUNT"]
    found = grants_of(documents(case), f"{NAMESPACE}/{account}")
    # Of another revision, the webhook's configuration is called otherwise.
    revised = "istiod-lite-validator-lite-istio-system"
    return frozenset(
        each._replace(name="istiod-lite-validator-istio-system") if each.name == revised else each
        for each in found
    )


def union(*without: set[str]) -> frozenset[Grant]:
    gone = set().union(*without)
    return frozenset(grant for row in rows() if row.removed_by not in gone for grant in row.grants)


def test_the_table_says_exactly_what_is_granted() -> None:
    assert granted("default") == union()


def test_every_row_has_a_reason_and_only_known_values_remove_one() -> None:
    assert all(row.why for row in rows())
    assert {row.removed_by for row in rows()} == {""} | LEAST | GIVEN


def test_values_remove_the_rights_that_the_table_says() -> None:
    assert granted("minimal") == union(LEAST)
    assert granted("revision") == union(GIVEN)


@pytest.mark.parametrize("case", cases())
def test_nothing_is_granted_by_a_wildcard_and_secrets_only_by_name(case: str) -> None:
    found = granted(case)
    assert not any("*" in each for each in found)
    secrets = {each for each in found if each.resource == "secrets"}
    assert all(each.namespace == NAMESPACE for each in secrets)
    assert {each.verb for each in secrets if not each.name} <= {"create"}


@pytest.mark.parametrize("case", cases())
def test_rules_are_of_use_to_one_account(case: str) -> None:
    account = environment(case)["ISTIOD_LITE_CONTROL_PLANE_ACCOUNT"]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        (binding,) = of_kind(case, kind)
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
        ]
