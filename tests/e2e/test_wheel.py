"""Every command works from the wheel, outside a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--check"], "A change, from save to enforcement         pass"),
        (["version"], "0.1.0"),
        (["snapshot", "{site}/controlplane/examples/bookinfo", "--strict"], "productpage-callers"),
        (["serve", "--help"], "--plaintext-port"),
        (["db", "upgrade"], "0002"),
    ],
)
def test_command(installed: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from controlplane.cli.main import main; main()",
            *[argument.format(site=installed) for argument in arguments],
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert told in ended.stdout


def test_the_package_in_use_was_the_wheel(installed: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import controlplane; print(controlplane.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(ended.stdout.strip()).is_relative_to(installed)
