"""The story, as a user runs it and as a program judges it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.story.chapters import CHAPTERS
from controlplane.lab.story.stage import Stage
from controlplane.lab.story.telling import story

COMMAND = [sys.executable, "-m", "controlplane.cli.main", "demo"]


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(120)
def test_the_command_tells_ten_steps_and_leaves_nothing(tmp_path: Path) -> None:
    # With an empty PATH: the Envoy comes from its package.
    ended = _run(tmp_path, "--check", PATH="")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    verdicts = [line.split() for line in ended.stdout.partition("VERDICT")[2].splitlines()[1:]]
    assert [line[0] for line in verdicts if line] == [str(number) for number in range(1, 11)]
    wanted = {"pass"} if find_envoy() is not None else {"pass", "skipped"}
    assert {line[-2] for line in verdicts if line} <= wanted
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
def test_without_an_envoy_it_says_so_and_tells_the_rest(tmp_path: Path) -> None:
    ended = _run(tmp_path, "--json", "--step", "6", ISTIOD_LITE_ENVOY="/nowhere/envoy")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [step["passed"] for step in steps] == [True] * 4 + [False] * 2
    assert [bool(step["skipped"]) for step in steps] == [False] * 4 + [True] * 2


@pytest.mark.timeout(60)
async def test_a_step_whose_change_is_not_made_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage, "apply", lambda *_, **__: None)
    told = []
    async with story(tmp_path) as running:
        async for each in running.tell(until=3):
            told.append(each)
            if each.number == 2:
                # What never comes has to be waited for no longer.
                monkeypatch.setattr("controlplane.lab.story.stage._PATIENCE", 0.5)
    assert [each.passed for each in told] == [True, True, False]
    assert [seen.expected for seen in told[2].seen if not seen.met] == [
        "notsleep is refused",
        "the log says which policy",
    ]


def test_the_story_has_ten_steps() -> None:
    assert len(CHAPTERS) == 10
