"""The demonstration, as a user runs it and as a program judges it."""

import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.lab.demonstration import demonstration
from controlplane.lab.expectations import Finding


@pytest.mark.timeout(60)
def test_the_command_ends_well_and_says_what_it_saw(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", "demo", "--check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no workload ever arrived before a policy it lists" in ended.stdout
    assert " NO " not in ended.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
async def test_an_expectation_that_is_not_met_is_found(tmp_path: Path) -> None:
    async with demonstration(tmp_path) as shown:
        first = await shown.first_state()
        assert [finding for finding in first if not finding.met] == []
        await shown.allow_notsleep()
        again = await shown.first_state()
    unmet = [finding.expected for finding in again if not finding.met]
    assert unmet == ["notsleep may not"]
    assert all(isinstance(finding, Finding) for finding in again)
