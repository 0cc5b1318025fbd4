"""``istiod-lite token``."""

from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from controlplane.admin.admin_token import FILE_NAME, load_admin_token
from controlplane.authentication.issuer_key import FILE, load_issuer_key
from controlplane.cli.main import application
from controlplane.cli.token import AUDIENCE


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(application, ["token", "--data-dir", str(folder), *arguments])
    return result.exit_code, result.output


@pytest.mark.proves("AU-40")
def test_a_token_says_what_its_options_say(tmp_path: Path) -> None:
    code, printed = run(
        tmp_path, "--service-account", "istio-system/ztunnel", "--pod", "ztunnel-a",
        "--pod-uid", "u", "--node", "node-a", "--audience", "a,b", "--ttl", "1h30m10s",
    )  # fmt: skip
    assert code == 0
    key = load_issuer_key(tmp_path).public_key()
    claims = jwt.decode(printed.strip(), key, algorithms=["ES256"], audience="a")
    assert claims["sub"] == "system:serviceaccount:istio-system:ztunnel"
    assert claims["aud"] == ["a", "b"]
    assert claims["exp"] - claims["iat"] == 5410
    assert claims["kubernetes.io"]["pod"] == {"name": "ztunnel-a", "uid": "u"}
    assert claims["kubernetes.io"]["node"]["name"] == "node-a"


@pytest.mark.proves("AU-40")
def test_an_account_is_enough(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "--service-account", "shop/cart")
    assert code == 0
    claims = jwt.decode(printed.strip(), options={"verify_signature": False})
    assert claims["aud"] == [AUDIENCE]
    assert claims["exp"] - claims["iat"] == 3600
    assert set(claims["kubernetes.io"]) == {"namespace", "serviceaccount"}


def test_the_admin_token_is_printed_to_its_owner(tmp_path: Path) -> None:
    made = load_admin_token(tmp_path)
    assert run(tmp_path, "--admin") == (0, f"{made}\n")


def test_no_admin_token_is_made_by_asking_for_it(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "--admin")
    assert code == 1
    assert "there is no" in printed
    assert list(tmp_path.iterdir()) == []


def test_an_admin_token_that_others_may_read_is_not_printed(tmp_path: Path) -> None:
    made = load_admin_token(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    code, printed = run(tmp_path, "--admin")
    assert code == 1
    assert made not in printed


def test_an_admin_token_is_no_workloads(tmp_path: Path) -> None:
    made = load_admin_token(tmp_path)
    code, printed = run(tmp_path, "--admin", "--service-account", "shop/cart")
    assert code == 2
    assert made not in printed


@pytest.mark.refutes("AU-40")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--service-account", "cart"],
        ["--service-account", "shop/cart", "--pod", "p"],
        ["--service-account", "shop/cart", "--pod-uid", "u"],
        ["--service-account", "shop/cart", "--node", "n"],
        ["--service-account", "shop/cart", "--ttl", "0s"],
        ["--service-account", "shop/cart", "--ttl", "1d"],
        ["--service-account", "shop/cart", "--ttl", "-1h"],
        ["--service-account", "shop/cart", "--audience", ","],
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, *arguments)[0] == 2
    assert not (tmp_path / FILE).exists()


@pytest.mark.refutes("AU-41")
def test_a_key_that_cannot_be_used_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("canary")
    code, printed = run(tmp_path, "--service-account", "shop/cart")
    assert code == 1
    assert "only its owner" in printed
    assert "canary" not in printed
