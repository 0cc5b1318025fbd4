"""What docs tell to type exists, and where they point to is something."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from controlplane.cli.main import application

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "charts" / "istiod-lite" / "README.md",
    ROOT / "examples" / "waypoints" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
# At the beginning, behind variables, in a pod, or behind a pipe.
COMMAND = re.compile(r"(?:^\$? *|-- |\| )(?:[A-Z_]+=\S+ )*istiod-lite +([a-z-].*)")
FENCE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ROOT_COMMAND: Any = typer.main.get_command(application)


def commands_in(text: str) -> Iterator[str]:
    """Yield what stands behind ``istiod-lite`` wherever a reader is told to type it."""
    fences = FENCE.findall(text)
    lines = [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    prose = " ".join(FENCE.sub("", text).split("\n"))
    for line in (*lines, *(each.strip() for each in INLINE.findall(prose))):
        match = COMMAND.search(line.strip())
        if match is not None:
            yield match[1]


def trouble_with(line: str) -> str:
    """Return why a command line does not exist, "" when it does."""
    words = shlex.split(line, comments=True)
    for number, word in enumerate(words):
        if word in {"|", "&", "&&", ">", "<", ";"}:
            words = words[:number]
            break
    context = typer.Context(ROOT_COMMAND, info_name="istiod-lite")
    command: Any = ROOT_COMMAND
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]}"
        command, context = found, typer.Context(found, info_name=words.pop(0), parent=context)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    known |= {name for parameter in command.params for name in parameter.secondary_opts}
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option != "-" and option not in known:
            return f"it has no option {option}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_told_of_exists(page: Path) -> None:
    troubles = {line: trouble_with(line) for line in commands_in(page.read_text())}
    assert {line: trouble for line, trouble in troubles.items() if trouble} == {}


def test_commands_are_found_wherever_they_stand() -> None:
    text = (
        "Say `istiod-lite ca status`, or:\n\n"
        "```\n"
        "ISTIOD_LITE_SERVER=x istiod-lite ps -v 1   # a remark\n"
        "kubectl exec deployment/istiod -- istiod-lite \\\n  wait --commit 3\n"
        "helm install istiod-lite charts/istiod-lite\n"
        "```\n\n"
        "and `istiod-lite ca\npause`, which istiod-lite does.\n"
    )
    assert [" ".join(each.split()) for each in commands_in(text)] == [
        "ps -v 1 # a remark",
        "wait --commit 3",
        "ca status",
        "ca pause",
    ]
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert len(list(commands_in(guide))) > 20


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("ca status --data-dir x", ""),
        ("zc policy --node n -o json | head --lines 3", ""),
        ("wait Pod a.b --timeout=3s # --nothing", ""),
        ("ca statusses", "there is no command statusses"),
        ("undo", "there is no command undo"),
        ("ps --everything", "it has no option --everything"),
        ("ca rotate root --soft > plan.txt", "it has no option --soft"),
    ],
)
def test_what_does_not_exist_is_noticed(line: str, trouble: str) -> None:
    assert trouble_with(line) == trouble


def anchors(page: Path) -> set[str]:
    """Return what a link may point to on a page: its headings, as they are made anchors of."""
    text = FENCE.sub("", page.read_text())
    made = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        made.add(kept.strip().replace(" ", "-"))
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []
