"""Every code a problem can have is explained: the source is searched for them."""

import ast
import re
from pathlib import Path

import pytest

from controlplane.insight.explanations import EXPLANATIONS, explanation_of

ROOT = Path(__file__).parents[3] / "controlplane"
CODE = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*")
TOPICS = frozenset(code.partition(".")[0] for code in EXPLANATIONS)
# Same shape, other meaning: events that are logged, metrics of rules, names of files and fields.
READERS = ("manifests", "sources", "mesh", "encode", "pipeline", "controllers/waypoint_")


def codes_in_source() -> set[str]:
    found = set()
    for path in ROOT.rglob("*.py"):
        if str(path.relative_to(ROOT)).startswith(READERS):
            tree = ast.parse(path.read_text())
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and CODE.fullmatch(node.value)
                and node.value.partition(".")[0] in TOPICS
            }
    return found


def test_every_code_in_the_source_is_explained() -> None:
    found = codes_in_source() - {"cluster.local"}
    assert len(found) > 40
    assert found - EXPLANATIONS.keys() == set()


def test_every_explanation_is_of_a_code_in_the_source() -> None:
    assert EXPLANATIONS.keys() - codes_in_source() == set()


def test_short_codes_are_distinct_and_of_one_form() -> None:
    shorts = [each.short for each in EXPLANATIONS.values()]
    assert len(set(shorts)) == len(shorts)
    assert all(re.fullmatch(r"IL0[1-9]\d\d", short) for short in shorts)


@pytest.mark.parametrize("code", sorted(EXPLANATIONS))
def test_advice_is_a_sentence(code: str) -> None:
    advice = EXPLANATIONS[code].advice
    assert advice[0].isupper()
    assert advice.endswith(".")


def test_an_unknown_code_is_named() -> None:
    assert explanation_of("some.thing").short == "IL0000"
    assert "some.thing" in explanation_of("some.thing").advice
