"""The table of what Gateway API asks names tests that there are, for all that is supported."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab.test_conformance import SITUATIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
SITUATION = re.compile(r"`\[([^\]]+)\]`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# Every feature of the profiles, core and extended, has a row of its own.
FEATURES = {
    *("Mesh", "HTTPRoute", "GRPCRoute", "MeshClusterIPMatching", "MeshConsumerRoute"),
    *(
        f"MeshHTTPRoute{name}"
        for name in (
            *("RewritePath", "SchemeRedirect", "RedirectPort", "RedirectPath"),
            *("BackendRequestHeaderModification", "QueryParamMatching", "NamedRouteRule"),
        )
    ),
}


def rows() -> Iterator[list[str]]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "feature":
            yield cells


def is_supported(cells: list[str]) -> bool:
    return cells[-2] == "yes"


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in tree.body if isinstance(each, kinds)}


@pytest.mark.parametrize("cells", list(rows()), ids=lambda cells: " ".join(cells[:-2]))
def test_a_feature_is_shown_by_tests_that_there_are_or_there_is_a_reason(cells: list[str]) -> None:
    situations, tests = SITUATION.findall(cells[-1]), TEST.findall(cells[-1])
    assert set(situations) <= set(SITUATIONS)
    for path, name in tests:
        assert name.startswith("test_")
        assert name in names_in(ROOT / path)
    if is_supported(cells):
        assert situations or tests
        assert SITUATION.sub("", TEST.sub("", cells[-1])).strip() == ""
    else:
        assert cells[-1]


def test_every_feature_of_the_profiles_is_supported() -> None:
    assert {name for cells in rows() if is_supported(cells) for name in cells[0].split(", ")} >= (
        FEATURES
    )


def test_every_situation_is_in_the_table() -> None:
    assert set(SITUATION.findall(PAGE.read_text())) == set(SITUATIONS)
