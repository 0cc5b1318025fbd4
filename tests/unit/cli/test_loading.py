"""Commands are imported when they are called, and only then."""

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from controlplane.cli.main import COMMANDS, application

GROUP: Any = typer.main.get_command(application)
SERVERS = ("fastapi", "grpc", "sqlalchemy", "kubernetes", "uvicorn", "controlplane.app")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_it_is_said_to_be(name: str) -> None:
    command = GROUP.commands[name]
    assert command.name == name
    assert command.hidden == COMMANDS[name].is_alias
    assert CliRunner().invoke(application, [name, "--help"]).exit_code == 0


def test_aliases_are_not_listed_and_others_are() -> None:
    shown = CliRunner().invoke(application, ["--help"], env={"COLUMNS": "200"}).stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("│ ")}
    assert {*COMMANDS, "version"} - listed == {"ps", "zc"}


def test_commands_are_a_mapping_without_being_imported() -> None:
    commands = type(GROUP.commands)(dict(COMMANDS), {})
    assert list(commands) == list(COMMANDS)
    assert len(commands) == len(COMMANDS)
    assert "wait" in commands
    assert "wiat" not in commands
    commands["more"] = "command"
    assert commands["more"] == "command"
    del commands["more"]
    assert commands.get("more") is None


def test_an_unknown_command_is_refused_with_a_hint() -> None:
    result = CliRunner().invoke(application, ["proxy-staus"])
    assert result.exit_code == 2
    assert "proxy-status" in result.stderr


@pytest.mark.parametrize("command", ["proxy-status", "ztunnel-config", "wait", "token"])
def test_asking_a_server_imports_none(command: str) -> None:
    code = (
        "import sys, controlplane.cli.main as main\n"
        f"main.application([{command!r}, '--help'], standalone_mode=False)\n"
        f"print([each for each in {SERVERS!r} if each in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
