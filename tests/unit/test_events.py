"""Every event that is logged is documented, and every documented one is logged."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
METHODS = {"debug", "info", "warning", "error", "exception"}
LOGGERS = {"log", "_log"}


def _logged() -> set[str]:
    events = set()
    for path in sorted((ROOT / "controlplane").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func)
            logger, _, method = name.rpartition(".")
            first = node.args[0]
            is_log = (logger in LOGGERS and method in METHODS) or name == "level"
            if is_log and isinstance(first, ast.Constant):
                events.add(str(first.value))
    return events


def _documented() -> set[str]:
    page = (ROOT / "docs" / "events.md").read_text()
    return set(re.findall(r"^\| `([a-z._-]+)` \|", page, re.MULTILINE))


def test_events_and_their_page_agree() -> None:
    assert _logged() == _documented()
