"""Every rule of docs/protocol is shown by a test that it happens and by one that it does not."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEFINITION = re.compile(r"^[\s|*-]*\*\*([A-Z]{2,3}-\d+)\*\*", re.MULTILINE)
PAIR_CLAIM = re.compile(r"^#\s*(proves|refutes):\s*(.+)$", re.MULTILINE)


def _defined() -> Counter[str]:
    pages = sorted((ROOT / "docs" / "protocol").glob("*.md"))
    return Counter(rule for page in pages for rule in DEFINITION.findall(page.read_text()))


def _claims() -> dict[str, dict[str, set[str]]]:
    """Return {"proves" | "refutes": {rule: files that claim it}}."""
    claims: dict[str, dict[str, set[str]]] = {"proves": {}, "refutes": {}}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                kind = node.func.attr
                if kind in claims and ast.unparse(node.func).startswith("pytest.mark."):
                    for argument in node.args:
                        rule = ast.literal_eval(argument)
                        claims[kind].setdefault(rule, set()).add(str(path))
    for path in sorted((ROOT / "tests" / "conformance").rglob("*.yaml")):
        for kind, rules in PAIR_CLAIM.findall(path.read_text()):
            for rule in re.split(r"[,\s]+", rules.strip()):
                claims[kind].setdefault(rule, set()).add(str(path))
    return claims


def test_rules_are_defined_once() -> None:
    defined = _defined()
    assert defined, "docs/protocol defines no rules"
    assert [rule for rule, times in defined.items() if times > 1] == []


@pytest.mark.parametrize("kind", ["proves", "refutes"])
def test_every_rule_has_a_test_that(kind: str) -> None:
    missing = sorted(set(_defined()) - set(_claims()[kind]))
    assert missing == []


def test_no_test_claims_a_rule_that_does_not_exist() -> None:
    claims = _claims()
    claimed = set(claims["proves"]) | set(claims["refutes"])
    assert sorted(claimed - set(_defined())) == []
