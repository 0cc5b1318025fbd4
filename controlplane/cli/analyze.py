"""``istiod-lite analyze``: manifests in, what is wrong with them out, with an exit code for CI."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from controlplane.insight.analysis import (
    Finding,
    Level,
    Suppression,
    analyse,
    is_in_namespace,
    read_suppression,
)
from controlplane.manifests.documents import Limits
from controlplane.model.problem import Problem
from controlplane.pipeline.compilation import compile_manifests
from controlplane.pipeline.configuration import mesh_settings
from controlplane.settings import Settings
from controlplane.sources.paths import read_paths

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
        list[Path],
        typer.Argument(metavar="PATH...", exists=True, help="Manifest files and folders."),
    ],
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Only objects of this namespace. Default: all."),
    ] = None,
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
) -> None:
    """Tell what is wrong with manifests, and what of them cannot take effect.

    Exit code 0; 2 for unusable arguments or settings; with the format 'log' 79 when a finding
    reaches the failure threshold.

    Example: istiod-lite analyze examples/bookinfo -S 'IL0103=*' --failure-threshold Warning
    """
    try:
        suppressions = tuple(map(read_suppression, suppress or ()))
        problems = _problems(paths)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if namespace is not None:
        problems = tuple(each for each in problems if is_in_namespace(each, namespace))
    print_findings(
        _told(problems, suppressions, output_threshold),
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
        typer.echo(_text([_document(each) for each in findings], output))
        return
    if not findings:
        typer.echo("✔ Nothing found.", err=True)
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        line = Text(str(finding))
        line.stylize(_STYLES[finding.level], 0, len(finding.level))
        console.print(line)
        if explains:
            console.print(Text(f"    {finding.advice}", style="dim"))
    if any(finding.level.rank >= failure_threshold.rank for finding in findings):
        raise typer.Exit(THRESHOLD_EXCEEDED)


def _problems(paths: list[Path]) -> tuple[Problem, ...]:
    settings = Settings()
    loaded = read_paths(
        paths,
        limits=Limits(bytes=settings.max_file_bytes),
        system_namespace=settings.system_namespace,
    )
    compiled = compile_manifests(loaded.objects, mesh_settings(settings, expands=True))
    return (*loaded.problems, *compiled.problems)


def _told(
    problems: tuple[Problem, ...], suppressions: tuple[Suppression, ...], threshold: Level
) -> tuple[Finding, ...]:
    findings = analyse(problems, suppressions=suppressions)
    return tuple(each for each in findings if each.level.rank >= threshold.rank)


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


def _text(document: list[dict[str, Any]], output: Output) -> str:
    """Return the document as ASCII, so that the bytes do not depend on the locale."""
    if output is Output.JSON:
        return json.dumps(document, indent=4)
    import yaml

    return yaml.safe_dump(document, sort_keys=False).rstrip("\n")
