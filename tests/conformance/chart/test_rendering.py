"""What helm makes of the chart is what is kept, and values that make no sense are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chart import CASES, CHART, NAMESPACE

RENDER = Path(__file__).parents[3] / "scripts" / "render_chart.py"
REFUSED = sorted((CASES / "refused").glob("*.yaml"))


@pytest.mark.timeout(60)
def test_the_chart_renders_to_what_is_kept(helm: str) -> None:
    found = subprocess.run(
        [sys.executable, RENDER, "--check"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HELM": helm},
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_the_chart_passes_the_lint_of_helm(helm: str) -> None:
    command = [helm, "lint", "--strict", str(CHART)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("values", REFUSED, ids=lambda path: path.stem)
def test_values_that_do_not_go_together_are_refused_in_words(helm: str, values: Path) -> None:
    head, *_ = values.read_text().splitlines()
    command = [
        helm,
        "template",
        "istiod-lite",
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--kube-version=1.30.0",
        f"--values={values}",
    ]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode != 0
    assert head.removeprefix("# expected: ") in found.stderr


def test_every_refusal_says_what_is_expected() -> None:
    assert REFUSED
    assert all(path.read_text().startswith("# expected: ") for path in REFUSED)
