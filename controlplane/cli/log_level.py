"""``istiod-lite log-level``: how much a running server logs, shown or changed."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from controlplane.cli.documents import Output, print_document
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile, answered

_PATH: Final = "/api/v1/log-level"


class LevelName(StrEnum):
    """From which level on events are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def log_level(
    level: Annotated[
        LevelName | None, typer.Argument(help="Log from this level on; without it: show.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Show from which level on a server logs, or change it at once and until it ends.

    It is that of the one replica that is asked; the others, and the next start, log as they are
    set to.

    Exit code 0; 1 when the server cannot be asked or refuses, 2 for unusable arguments.

    Example: istiod-lite log-level debug
    """
    with answered(server, token, token_file) as asked:
        found = asked.get(_PATH) if level is None else asked.put(_PATH, {"level": level.value})
    if output.is_table:
        typer.echo(found["level"])
    else:
        print_document(found, output)
