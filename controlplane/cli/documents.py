"""What commands print for programs: values in, JSON or YAML out."""

import json
from enum import StrEnum
from typing import Any, Final

import typer

from controlplane.cli.patience import Patience

INDENT: Final = 4


class Output(StrEnum):
    """How to print: ``table`` and ``short`` are the same, the two names users know."""

    TABLE = "table"
    SHORT = "short"
    JSON = "json"
    YAML = "yaml"

    @property
    def is_table(self) -> bool:
        """Return whether it is for people."""
        return self in {Output.TABLE, Output.SHORT}


def print_document(document: Any, output: Output) -> None:
    """Print a document as ASCII, so that the bytes do not depend on the locale."""
    if output is Output.YAML:
        import yaml

        # In C where it was built so: a dump of a large mesh takes half a minute otherwise.
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        with Patience("Writing YAML").waiting():
            text = yaml.dump(document, Dumper=dumper, sort_keys=False)
        typer.echo(text.rstrip("\n"))
        return
    typer.echo(json.dumps(document, indent=INDENT))
