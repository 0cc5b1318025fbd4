"""Write docs/commands.md from the commands themselves; with --check, compare instead."""

import sys
from collections.abc import Iterator
from typing import Any, Final

import typer
from generated_page import cell, keep

from controlplane.cli.main import application

HEAD: Final = """# Commands

What `--help` says of every command, in one place. Options are described once for each command;
`ps` stands for `proxy-status` and `zc` for `ztunnel-config`. Commands that ask a running server
want the admin port; settings of `serve` that have no option are in [settings.md](settings.md).
This page is written by `make docs`.

"""


def commands_page() -> str:
    """Return the whole page."""
    commands = list(_commands())
    listed = [
        f"- [`{path}`](#{path.replace(' ', '-')}): {command.help.splitlines()[0]}\n"
        for path, command, _ in commands
    ]
    return HEAD + "".join(listed) + "".join(_section(*each) for each in commands)


def _commands() -> Iterator[tuple[str, Any, typer.Context]]:
    root: Any = typer.main.get_command(application)
    yield from _below(typer.Context(root, info_name="istiod-lite"), "istiod-lite", root)


def _below(
    context: typer.Context, path: str, group: Any
) -> Iterator[tuple[str, Any, typer.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        inner = typer.Context(command, info_name=name, parent=context)
        if hasattr(command, "list_commands"):
            yield from _below(inner, f"{path} {name}", command)
        else:
            yield f"{path} {name}", command, inner


def _section(path: str, command: Any, context: typer.Context) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    about, examples = _told(command.help)
    rows = []
    for parameter in command.params:
        record = None if parameter.hidden else parameter.get_help_record(context)
        if record is not None:
            rows.append(f"| `{cell(record[0])}` | {cell(record[1])} |\n")
    table = "\n| | |\n|---|---|\n" + "".join(rows) if rows else ""
    return f"\n## {path}\n\n{about}\n\n```\n{' '.join(usage.split())}\n{examples}```\n{table}"


def _told(text: str) -> tuple[str, str]:
    """Return the paragraphs of a help text, and its examples a line each."""
    paragraphs = [" ".join(each.split()) for each in text.split("\n\n")]
    examples = [
        each.removeprefix("Example: ") + "\n" for each in paragraphs if each.startswith("Example: ")
    ]
    about = [each for each in paragraphs if not each.startswith("Example: ")]
    return "\n\n".join(about), "".join(examples)


if __name__ == "__main__":
    sys.exit(keep("commands.md", commands_page()))
