"""Pages of docs/ that the code says: written, or compared, by the scripts beside this one."""

import sys
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent.parent / "docs"


def keep(name: str, text: str) -> int:
    """Write the page ``name``; with --check compare it, and return 1 when it differs."""
    page = DOCS / name
    if "--check" not in sys.argv[1:]:
        page.write_text(text)
        return 0
    if page.is_file() and page.read_text() == text:
        return 0
    sys.stderr.write(f"docs/{name} is not what the code says; run make docs\n")
    return 1


def cell(text: str) -> str:
    """Return ``text`` as it may stand in a table: on one line, with no end of a cell in it."""
    return " ".join(text.split()).replace("|", "\\|")
