import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.given_files import GivenFiles
from controlplane.ca.plugged import PluggedAuthority
from controlplane.ca.signer import SignerSnapshot
from tests.support.authorities import Authority, a_key, an_authority
from tests.support.issuing import NOW, Desk, SetClock, chain_of, leaf_of, refusal_of
from tests.support.plugged import Tiers, istio_form, plugged_root, put, tiers, tls_form

OLD, NEW, OTHER = tiers(), tiers(renewal=1), tiers(number=1)


def plugged(
    folder: Path, *, clock: SetClock | None = None, accepts_more_roots: bool = False
) -> PluggedAuthority:
    return PluggedAuthority(
        folder,
        trust_domain="cluster.local",
        clock=clock or SetClock(),
        accepts_more_roots=accepts_more_roots,
    )


def in_force(authority: GivenAuthority) -> SignerSnapshot:
    snapshot = authority.current()
    assert snapshot is not None
    return snapshot


@pytest.mark.proves("PL-15")
@pytest.mark.parametrize("form", [istio_form, tls_form])
async def test_what_is_answered(
    tmp_path: Path, form: Callable[[Tiers], Mapping[str, bytes]]
) -> None:
    snapshot = in_force(plugged(put(tmp_path, form(OLD))))
    chain = chain_of(await Desk(snapshot=snapshot).ask())
    assert chain[1:] == [OLD.signing.pem, OLD.middle.pem, OLD.root.pem]


@pytest.mark.proves("PL-15")
async def test_many_roots_are_the_last_element(tmp_path: Path) -> None:
    files = istio_form(OLD, roots=[OTHER.root, OLD.root, OTHER.root])
    chain = chain_of(await Desk(snapshot=in_force(plugged(put(tmp_path, files)))).ask())
    assert chain[-1] == OTHER.root.pem + OLD.root.pem


@pytest.mark.refutes("PL-15")
async def test_a_root_that_signs_is_not_sent_twice(tmp_path: Path) -> None:
    root = plugged_root()
    files = istio_form(Tiers(root=root, middle=root, signing=root))
    chain = chain_of(await Desk(snapshot=in_force(plugged(put(tmp_path, files)))).ask())
    assert chain[1:] == [root.pem]


@pytest.mark.proves("PL-16")
async def test_the_shortest_of_the_path_ends_leaves_and_signing(tmp_path: Path) -> None:
    # What is above ends before what is below it: nobody forbids that.
    middle = an_authority(
        "short",
        key=a_key(number=900),
        parent=plugged_root(),
        not_before=NOW - timedelta(hours=1),
        life=timedelta(hours=2),
    )
    signing = an_authority(
        "long",
        key=a_key(number=901),
        parent=middle,
        path_length=0,
        not_before=NOW - timedelta(hours=1),
        life=timedelta(days=90),
    )
    clock = SetClock()
    given = Tiers(root=plugged_root(), middle=middle, signing=signing)
    authority = plugged(put(tmp_path, istio_form(given)), clock=clock)
    desk = Desk(signers=authority, clock=clock)
    leaf = leaf_of(await desk.ask())
    assert leaf.not_valid_after_utc == middle.certificate.not_valid_after_utc
    clock.seconds = 3600
    assert authority.current() is None
    assert authority.unfit_reason() == f"the authority in {tmp_path} has expired"
    assert refusal_of(await desk.ask()).status == "UNAVAILABLE"


@pytest.mark.refutes("PL-16")
async def test_leaves_that_end_before_are_not_shortened(tmp_path: Path) -> None:
    clock = SetClock()
    authority = plugged(put(tmp_path, istio_form(OLD)), clock=clock)
    leaf = leaf_of(await Desk(snapshot=in_force(authority)).ask())
    assert leaf.not_valid_after_utc < in_force(authority).not_after
    clock.seconds = timedelta(days=29).total_seconds()
    assert authority.current() is not None


@pytest.mark.proves("PL-18")
@pytest.mark.refutes("PL-19", "PL-20")
@pytest.mark.parametrize("form", [istio_form, tls_form])
def test_a_new_signing_certificate(
    tmp_path: Path, form: Callable[[Tiers], Mapping[str, bytes]]
) -> None:
    authority = plugged(put(tmp_path, form(OLD)))
    before = in_force(authority)
    put(tmp_path, form(NEW))
    assert in_force(authority) is before
    with capture_logs() as logs:
        authority.look()
    after = in_force(authority)
    assert after.certificate == NEW.signing.certificate
    assert after.key.public_key() == NEW.signing.key.public_key()
    assert after.chain == (NEW.signing.pem, NEW.middle.pem)
    assert (before.generation, after.generation) == (1, 2)
    assert [entry["event"] for entry in logs] == ["authorities.files-loaded"]


@pytest.mark.proves("PL-18")
async def test_looks_every_five_seconds(tmp_path: Path) -> None:
    waits: list[float] = []
    turn, done = asyncio.Event(), asyncio.Event()

    class StepClock(SetClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            done.set()
            await turn.wait()
            turn.clear()

    authority = plugged(put(tmp_path, istio_form(OLD)), clock=StepClock())
    task = asyncio.create_task(authority.run())
    await done.wait()
    done.clear()
    put(tmp_path, istio_form(NEW))
    turn.set()
    await done.wait()
    assert in_force(authority).generation == 2
    assert waits == [5.0, 5.0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.refutes("PL-18")
def test_no_look_nothing_new(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD)))
    for _ in range(4):
        authority.look()
    assert in_force(authority).generation == 1


@pytest.mark.proves("PL-19")
def test_files_that_come_one_by_one(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD)))
    before = in_force(authority)
    steps = list(istio_form(NEW).items())
    for name, text in steps[:-1]:
        put(tmp_path, {name: text})
        authority.look()
        # With the key and the certificate in place the rest is the same below the same root.
        if name == "ca-cert.pem":
            assert in_force(authority) is before
            assert "ca-key.pem does not belong" in authority.problem
    assert authority.problem == ""
    assert in_force(authority).certificate == NEW.signing.certificate


@pytest.mark.proves("PL-19")
@pytest.mark.parametrize("name", istio_form(OLD))
@pytest.mark.parametrize("text", [None, b"", b"\x00" * 300, b"-----BEGIN CERTIFICATE-----\nAA"])
def test_a_fault_and_its_end(tmp_path: Path, name: str, text: bytes | None) -> None:
    # A blank chain is allowed: then it is the signing certificate that leads nowhere.
    blamed = "ca-cert.pem" if (name, text) == ("cert-chain.pem", b"") else name
    authority = plugged(put(tmp_path, istio_form(OLD)))
    before = in_force(authority)
    (tmp_path / name).unlink()
    if text is not None:
        put(tmp_path, {name: text})
    with capture_logs() as logs:
        for _ in range(3):
            authority.look()
    assert in_force(authority) is before
    assert blamed in authority.problem
    assert [entry["event"] for entry in logs] == ["authorities.files-refused"]
    put(tmp_path, istio_form(OLD))
    authority.look()
    assert authority.problem == ""
    assert in_force(authority) is before


@pytest.mark.proves("PL-19")
def test_the_folder_goes_away(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path / "cacerts", istio_form(OLD)))
    before = in_force(authority)
    (tmp_path / "cacerts").rename(tmp_path / "gone")
    authority.look()
    assert in_force(authority) is before
    assert "holds no authority" in authority.problem


@pytest.mark.proves("PL-19")
def test_a_fault_that_time_mends(tmp_path: Path) -> None:
    clock = SetClock()
    authority = plugged(put(tmp_path, istio_form(OLD)), clock=clock)
    later = an_authority(
        "later",
        key=a_key(number=902),
        parent=OLD.middle,
        path_length=0,
        not_before=NOW + timedelta(minutes=10),
        life=timedelta(days=1),
    )
    put(tmp_path, istio_form(Tiers(root=OLD.root, middle=OLD.middle, signing=later)))
    authority.look()
    assert "is valid from" in authority.problem
    clock.seconds = 601
    authority.look()
    assert in_force(authority).certificate == later.certificate


@pytest.mark.proves("PL-20")
def test_other_roots(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD)))
    before = in_force(authority)
    for roots in ([OLD.root, OTHER.root], [OTHER.root]):
        put(tmp_path, istio_form(OLD if OLD.root in roots else OTHER, roots=roots))
        authority.look()
        assert in_force(authority) is before
        assert "root-cert.pem holds other roots" in authority.problem


def step(authority: PluggedAuthority, folder: Path, given: Tiers, *roots: Authority) -> str:
    put(folder, istio_form(given, roots=roots))
    authority.look()
    return authority.problem


@pytest.mark.proves("PL-20")
@pytest.mark.refutes("PL-21")
def test_a_root_is_changed_in_three_steps(tmp_path: Path) -> None:
    put(tmp_path, istio_form(OLD))
    authority = plugged(tmp_path, accepts_more_roots=True)
    assert step(authority, tmp_path, OLD, OLD.root, OTHER.root) == ""
    assert in_force(authority).bundle == OLD.root.pem + OTHER.root.pem
    assert step(authority, tmp_path, OTHER, OLD.root, OTHER.root) == ""
    assert in_force(authority).certificate == OTHER.signing.certificate
    assert step(authority, tmp_path, OTHER, OTHER.root) == ""
    assert in_force(authority).bundle == OTHER.root.pem
    assert in_force(authority).generation == 4


@pytest.mark.proves("PL-20", "PL-21")
def test_steps_that_would_part_peers(tmp_path: Path) -> None:
    put(tmp_path, istio_form(OLD))
    authority = plugged(tmp_path, accepts_more_roots=True)
    before = in_force(authority)
    assert "adds and removes roots at once" in step(authority, tmp_path, OTHER, OTHER.root)
    both = (OLD.root, OTHER.root)
    assert "together with the root that signs" in step(authority, tmp_path, OTHER, *both)
    assert in_force(authority) is before
    assert step(authority, tmp_path, OLD, *both) == ""
    assert "together with the root that signs" in step(authority, tmp_path, OTHER, OTHER.root)
    assert in_force(authority).certificate == OLD.signing.certificate


@pytest.mark.proves("PL-22")
def test_the_same_in_other_words(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD, roots=[OLD.root])))
    before = in_force(authority)
    put(
        tmp_path,
        {
            "root-cert.pem": b"# ours\r\n" + OLD.root.pem.encode() * 2,
            "cert-chain.pem": OLD.middle.pem.encode(),
        },
    )
    with capture_logs() as logs:
        authority.look()
    assert in_force(authority) is before
    assert authority.problem == ""
    assert logs == []


@pytest.mark.refutes("PL-22")
def test_what_differs_is_taken_up(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD)))
    put(tmp_path, istio_form(NEW))
    authority.look()
    assert in_force(authority).generation == 2


class Scripted:
    """A reader whose stamps are what a test says."""

    place = "scripted"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.stamps = iter(range(0))
        self.fixed = 0
        self.reads = 0

    def stamp(self) -> int:
        return next(self.stamps, self.fixed)

    def read(self) -> GivenFiles:
        self.reads += 1
        return GivenFiles(
            place="scripted",
            texts=dict(self.files),
            certificate="ca-cert.pem",
            key="ca-key.pem",
            chain="cert-chain.pem",
            roots="root-cert.pem",
        )


def scripted(reader: Scripted) -> GivenAuthority:
    return GivenAuthority(reader, trust_domain="cluster.local", clock=SetClock())


@pytest.mark.proves("PL-23")
def test_files_that_change_while_they_are_read() -> None:
    reader = Scripted(istio_form(OLD))
    reader.stamps = iter([1, 2, 3, 3])
    authority = scripted(reader)
    assert reader.reads == 2
    reader.stamps = iter(range(10, 30))
    authority.look()
    assert "change while they are read" in authority.problem
    assert authority.current() is not None
    reader.stamps = iter(range(10))
    with pytest.raises(GivenAuthorityError, match="scripted change while they are read"):
        scripted(reader)


@pytest.mark.proves("PL-23")
def test_a_second_write_within_one_tick() -> None:
    reader = Scripted(istio_form(OLD))
    authority = scripted(reader)
    reader.files = istio_form(NEW)
    authority.look()
    assert in_force(authority).certificate == NEW.signing.certificate


@pytest.mark.refutes("PL-23")
def test_files_at_rest_are_not_read_again(tmp_path: Path) -> None:
    reader = Scripted(istio_form(OLD))
    authority = scripted(reader)
    for _ in range(5):
        authority.look()
    assert reader.reads == 2
    reader.fixed = 7
    for _ in range(5):
        authority.look()
    assert reader.reads == 4


def test_a_replaced_file_of_the_same_size_and_age_is_noticed(tmp_path: Path) -> None:
    authority = plugged(put(tmp_path, istio_form(OLD)))
    for _ in range(3):
        authority.look()
    for name, text in istio_form(NEW).items():
        old = (tmp_path / name).stat()
        (tmp_path / f"{name}.new").write_bytes(text)
        os.utime(tmp_path / f"{name}.new", ns=(old.st_atime_ns, old.st_mtime_ns))
        (tmp_path / f"{name}.new").rename(tmp_path / name)
    authority.look()
    assert in_force(authority).generation == 2


@pytest.mark.proves("PL-17")
@pytest.mark.parametrize("name", istio_form(OLD))
def test_a_fault_at_the_start(tmp_path: Path, name: str) -> None:
    put(tmp_path, istio_form(OLD) | {name: b"nothing"})
    with pytest.raises(GivenAuthorityError, match=name):
        plugged(tmp_path)


@pytest.mark.refutes("PL-17")
def test_no_fault_at_the_start(tmp_path: Path) -> None:
    assert plugged(put(tmp_path, istio_form(OLD))).problem == ""
