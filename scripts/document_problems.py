"""Write docs/problems.md from the table of explanations; with --check, compare instead."""

import sys
from typing import Final

from generated_page import cell, keep

from controlplane.insight.explanations import EXPLANATIONS

HEAD: Final = """# What can be wrong

Every kind of problem, with the code that `istiod-lite analyze` prints and takes for `-S`, the one
that the log, the API and the page have, and what to do about it. Codes are stable. A problem says
in its own words what is wrong with which object, and where that is written. This page is written
by `make docs`.

| code | also | what to do |
|---|---|---|
"""


def problems_page() -> str:
    """Return the whole page."""
    rows = sorted((found.short, code, found.advice) for code, found in EXPLANATIONS.items())
    return HEAD + "".join(
        f"| `{short}` | `{code}` | {cell(advice)} |\n" for short, code, advice in rows
    )


if __name__ == "__main__":
    sys.exit(keep("problems.md", problems_page()))
