"""``istiod-lite analyze``: what is wrong with manifests or a mesh, with an exit code for CI."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from controlplane.cli.documents import Output as Format
from controlplane.cli.documents import print_document
from controlplane.cli.manifest_files import compile_files
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile, answered
from controlplane.cli.server_problems import Found, server_problems
from controlplane.cli.tables import one_line
from controlplane.insight.analysis import (
    Finding,
    Level,
    analyse,
    is_in_namespace,
    read_suppression,
)
from controlplane.model.problem import Problem

THRESHOLD_EXCEEDED: Final = 79
"""The exit code that users of such commands know."""

_STYLES: Final = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.INFO: "cyan"}


class Output(StrEnum):
    """How to print findings."""

    LOG = "log"
    JSON = "json"
    YAML = "yaml"


def analyze(  # noqa: PLR0913, PLR0917 - one parameter for each option
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            exists=True,
            help="Manifest files and folders. Without any a running server is asked.",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Only objects of this namespace. Default: all."),
    ] = None,
    all_namespaces: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool, typer.Option("--all-namespaces", "-A", help="Objects of all namespaces, the default.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.LOG,
    suppress: Annotated[
        list[str] | None,
        typer.Option(
            "--suppress", "-S", help="CODE=Kind name.namespace not to tell; * stands for anything."
        ),
    ] = None,
    failure_threshold: Annotated[
        Level, typer.Option(case_sensitive=False, help="Level from which findings fail.")
    ] = Level.ERROR,
    output_threshold: Annotated[
        Level, typer.Option(case_sensitive=False, help="Level from which findings are printed.")
    ] = Level.INFO,
    explain: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool, typer.Option("--explain", help="Say below each finding what to do about it.")
    ] = False,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Tell what is wrong with manifests, or with those a server has; and what has no effect.

    Exit code 0; 1 when the server cannot tell; 2 for unusable arguments or settings; with the
    format 'log' 79 when a finding reaches the failure threshold.

    Example: istiod-lite analyze examples/bookinfo -S 'IL0103=*' --failure-threshold Warning
    """
    if all_namespaces and namespace is not None:
        raise typer.BadParameter("give either --namespace or --all-namespaces")
    try:
        suppressions = tuple(map(read_suppression, suppress or ()))
        found = Found(_problems(paths)) if paths else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if found is None:
        with answered(server, token, token_file) as asked:
            found = server_problems(asked)
    problems = found.problems
    if namespace is not None:
        problems = tuple(each for each in problems if is_in_namespace(each, namespace))
    findings = analyse(problems, suppressions=suppressions, explain=found.explain)
    print_findings(
        tuple(each for each in findings if each.level.rank >= output_threshold.rank),
        output=output,
        failure_threshold=failure_threshold,
        explains=explain,
    )


def print_findings(
    findings: tuple[Finding, ...], *, output: Output, failure_threshold: Level, explains: bool
) -> None:
    """Print findings.

    Raises:
        typer.Exit: with 79, when the format is for people and one reaches the threshold.
    """
    if output is not Output.LOG:
        print_document([_document(each) for each in findings], Format(output.value))
        return
    if not findings:
        typer.echo("✔ Nothing found.", err=True)
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        line = Text(one_line(str(finding)))
        line.stylize(_STYLES[finding.level], 0, len(finding.level))
        console.print(line)
        if explains:
            console.print(Text(f"    {one_line(finding.advice)}", style="dim"))
    if any(finding.level.rank >= failure_threshold.rank for finding in findings):
        raise typer.Exit(THRESHOLD_EXCEEDED)


def _problems(paths: list[Path]) -> tuple[Problem, ...]:
    loaded, compiled = compile_files(paths)
    return (*loaded.problems, *compiled.problems)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "code": finding.short,
        "problem": finding.code,
        "object": str(finding.object) if finding.object else None,
        "place": finding.place or None,
        "field": finding.field or None,
        "message": finding.message,
        "advice": finding.advice,
    }
