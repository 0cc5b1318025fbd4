"""``istiod-lite ca`` commands of authorities as users call them, on a real file and database."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from controlplane.ca.authorities import Authorities, Memories
from controlplane.ca.file_key_store import FileKeyStore, replace_file
from controlplane.ca.journal import StoreJournal
from controlplane.cli.main import application
from controlplane.clock import SystemClock
from controlplane.store.database import SQLITE_FILE
from controlplane.store.journal import Journal
from tests.support.authority_stores import ToldLeadership
from tests.support.ledger import migrated_sqlite


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("ISTIOD_LITE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(application, ["ca", *arguments, "--data-dir", str(folder)])


def lead(folder: Path, *, passphrase_file: Path | None = None) -> None:
    """Look twice, as the replica that leads."""

    async def look() -> None:
        database = await migrated_sqlite(folder)
        clock = SystemClock()
        authorities = Authorities(
            trust_domain="cluster.local",
            replica_id="local",
            memories=Memories(
                keys=FileKeyStore(folder / "ca", passphrase_file=passphrase_file),
                journal=StoreJournal(
                    Journal(database, clock=clock), trust_domain="cluster.local", replica_id="local"
                ),
                leadership=ToldLeadership(1),
            ),
            clock=clock,
        )
        await authorities.look()
        await authorities.look()
        await database.close()

    asyncio.run(look())


def document(folder: Path) -> dict[str, Any]:
    result = run(folder, "status", "-o", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def statuses(folder: Path) -> list[tuple[str, str]]:
    return [(each["tier"], each["status"]) for each in document(folder)["authorities"]]


def test_status_shows_what_is_in_force(folder: Path) -> None:
    lead(folder)
    result = run(folder, "status")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["TIER", "ID", "STATUS", "KEY"]
    assert [line.split()[0] for line in lines[1:3]] == ["root", "intermediate"]
    assert all(line.split()[2:4] == ["ACTIVE", "P-256"] for line in lines[1:3])
    assert "trust domain cluster.local" in result.stdout
    found = document(folder)
    assert found["state"]["bundle_version"] == 1
    assert (found["next"], found["gates"], found["problem"]) == (None, [], "")
    assert "certificate" not in found["authorities"][0]


def test_before_the_first_start_there_is_nothing_to_show_or_order(folder: Path) -> None:
    for arguments in (("status",), ("root",), ("rotate", "root"), ("taint", "ab"), ("pause",)):
        result = run(folder, *arguments)
        assert result.exit_code == 1
        assert "first start" in result.output
    assert not folder.exists()


def test_without_the_database_authorities_are_shown_but_not_what_is_waited_for(
    folder: Path,
) -> None:
    lead(folder)
    (folder / SQLITE_FILE).unlink()
    result = run(folder, "status")
    assert result.exit_code == 0
    assert "intermediate" in result.stdout
    assert "what is waited for is not known: there is no database" in result.stdout
    assert not (folder / SQLITE_FILE).exists()


def test_the_roots_are_printed_as_pem(folder: Path) -> None:
    lead(folder)
    run(folder, "rotate", "root")
    lead(folder)
    result = run(folder, "root")
    roots = x509.load_pem_x509_certificates(result.stdout.encode())
    assert len(roots) == 2
    assert all(root.issuer == root.subject for root in roots)


@pytest.mark.proves("AT-38")
def test_an_ordered_intermediate_is_made_by_whoever_leads(folder: Path) -> None:
    lead(folder)
    result = run(folder, "rotate", "intermediate")
    assert result.exit_code == 0
    assert "ordered" in result.stdout
    assert document(folder)["orders"]["rotate"] == ["intermediate"]
    lead(folder)
    assert ("intermediate", "RETIRING") in statuses(folder)
    assert document(folder)["orders"]["rotate"] == []


def test_an_ordered_root_says_what_it_waits_for(folder: Path) -> None:
    lead(folder)
    run(folder, "rotate", "root")
    lead(folder)
    result = run(folder, "status")
    assert "PUBLISHED" in result.stdout
    assert "waits: leaves-without-root: for certificates issued without the new" in result.stdout
    assert "leaves-without-root" in {gate["name"] for gate in document(folder)["gates"]}


@pytest.mark.proves("AT-24")
def test_a_root_ordered_hard_acts_at_once(folder: Path) -> None:
    lead(folder)
    assert run(folder, "rotate", "root", "--hard").exit_code == 0
    lead(folder)
    assert ("root", "RETIRING") in statuses(folder)
    assert document(folder)["orders"]["hard"] is False


@pytest.mark.proves("AT-40")
def test_ordered_hard_a_root_that_waits_acts_and_there_is_no_third(folder: Path) -> None:
    lead(folder)
    run(folder, "rotate", "root")
    lead(folder)
    (waiting,) = (each for each in document(folder)["authorities"] if each["status"] == "PUBLISHED")
    rehearsed = run(folder, "rotate", "root", "--hard", "--dry-run").stdout
    assert f"root {waiting['authority_id'][:8]} is on its way already" in rehearsed
    assert run(folder, "rotate", "root", "--hard").exit_code == 0
    lead(folder)
    lead(folder)
    found = document(folder)
    assert found["state"]["active_root"] == waiting["authority_id"]
    assert len([each for each in found["authorities"] if each["tier"] == "root"]) == 2
    assert (found["orders"]["rotate"], found["orders"]["hard"]) == ([], False)


def test_hard_is_for_roots(folder: Path) -> None:
    lead(folder)
    assert run(folder, "rotate", "intermediate", "--hard").exit_code == 2
    assert run(folder, "rotate", "leaf").exit_code == 2


@pytest.mark.proves("AT-39")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("intermediate",), "nobody notices"),
        (("root",), "at the earliest"),
        (("root", "--hard"), "do not trust"),
    ],
)
def test_a_dry_run_tells_and_changes_nothing(
    folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    lead(folder)
    before = (folder / "ca" / "authorities.sealed").read_bytes()
    result = run(folder, "rotate", *arguments, "--dry-run")
    assert result.exit_code == 0
    assert says in result.stdout
    assert "next: make-" in result.stdout
    assert "nothing was changed" in result.stdout
    assert (folder / "ca" / "authorities.sealed").read_bytes() == before


@pytest.mark.proves("AT-23")
def test_a_pause_is_seen_and_taken_back(folder: Path) -> None:
    lead(folder)
    assert run(folder, "pause").exit_code == 0
    run(folder, "rotate", "root")
    lead(folder)
    assert "rotation of roots is paused" in run(folder, "status").stdout
    assert statuses(folder) == [("root", "ACTIVE"), ("intermediate", "ACTIVE")]
    assert run(folder, "resume").exit_code == 0
    lead(folder)
    assert ("root", "PUBLISHED") in statuses(folder)


def test_a_tainted_intermediate_is_replaced(folder: Path) -> None:
    lead(folder)
    signer = document(folder)["state"]["active_intermediate"]
    result = run(folder, "taint", signer[:10])
    assert result.exit_code == 0
    assert f"intermediate {signer[:8]} will be tainted" in result.stdout
    lead(folder)
    assert document(folder)["state"]["active_intermediate"] not in {"", signer}
    assert ("intermediate", "TAINTED") in statuses(folder)


@pytest.mark.refutes("AT-39")
def test_an_id_nobody_has_is_refused(folder: Path) -> None:
    lead(folder)
    result = run(folder, "taint", "xyz")
    assert result.exit_code == 1
    assert "no authority in use" in result.output
    assert document(folder)["orders"]["taint"] == []


@pytest.mark.proves("AT-39")
def test_nothing_is_ordered_about_an_authority_that_is_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(folder)
    monkeypatch.setenv("ISTIOD_LITE_ISTIO_CA_SECRET", str(tmp_path / "secret.yaml"))
    for arguments in (("rotate", "root"), ("pause",), ("status",)):
        result = run(folder, *arguments)
        assert result.exit_code == 1
        assert "secret.yaml: whoever gave it" in result.output
    assert run(folder, "root").exit_code == 1
    replace_file(folder / "root-cert.pem", b"-----the roots it wrote-----\n")
    assert run(folder, "root").stdout == "-----the roots it wrote-----\n"
    monkeypatch.delenv("ISTIOD_LITE_ISTIO_CA_SECRET")
    assert document(folder)["orders"]["rotate"] == []


def test_a_passphrase_comes_from_the_option_or_the_setting(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passphrase = tmp_path / "passphrase"
    replace_file(passphrase, b"correct horse\n")
    lead(folder, passphrase_file=passphrase)
    refused = run(folder, "status")
    assert refused.exit_code == 1
    assert "authorities.key is missing" in refused.output
    assert run(folder, "status", "--passphrase-file", str(passphrase)).exit_code == 0
    monkeypatch.setenv("ISTIOD_LITE_KEY_PASSPHRASE_FILE", str(passphrase))
    assert run(folder, "status").exit_code == 0
