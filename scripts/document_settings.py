"""Write docs/settings.md from the settings themselves; with --check, compare instead."""

import sys

from generated_page import keep
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from controlplane.settings import Settings

HEAD = """# Settings

Every setting is an environment variable, read once at start; the command line overrides what it
has an option for. Times are seconds, sizes are bytes. This page is written by `make docs`.

| variable | also read | default | meaning |
|---|---|---|---|
"""


def _row(name: str, field: FieldInfo) -> str:
    ours = f"ISTIOD_LITE_{name.upper()}"
    known = ""
    if isinstance(field.validation_alias, AliasChoices):
        ours, known = (str(choice) for choice in field.validation_alias.choices)
    default = "unset" if field.default is None else f"`{field.default}`"
    if field.default == "":
        default = "empty"
    known = f"`{known}`" if known else ""
    return f"| `{ours}` | {known} | {default} | {field.description} |"


def settings_page() -> str:
    """Return the whole page."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(keep("settings.md", settings_page()))
