"""Folders damaged in every way: refused with a text, or what comes out signs as it should."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.istio_secret import IstioSecretAuthority
from controlplane.ca.plugged import PluggedAuthority
from controlplane.ca.signer import SignerSnapshot
from tests.support.issuing import NOW, SetClock
from tests.support.plugged import (
    istio_form,
    istio_root,
    put,
    secret_entries,
    secret_manifest,
    tiers,
    tls_form,
)

WHOLE = (istio_form(tiers()), istio_form(tiers(renewal=1)), istio_form(tiers(number=1)))
TD = "cluster.local"
NAMES = tuple(WHOLE[0])
KEY_LINES = {
    line
    for files in (*WHOLE, tls_form(tiers()))
    for name in ("ca-key.pem", "tls.key")
    for line in files.get(name, b"").decode().splitlines()
    if not line.startswith("-")
}
PARTS = tuple({text for files in WHOLE for text in files.values()})


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Return files of whole folders, cut, joined, with bytes changed or put in."""
    text = b"".join(draw(st.lists(st.sampled_from(PARTS), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 80)))
        text = text[:start] + draw(st.binary(max_size=8)) + text[end:]
    return text


def require_sound(snapshot: SignerSnapshot) -> None:
    """Fail unless what was accepted hangs together, judged without the code that accepted it."""
    assert snapshot.key.public_key() == snapshot.certificate.public_key()
    links = [x509.load_pem_x509_certificates(each.encode()) for each in snapshot.chain]
    assert all(len(each) == 1 for each in links)
    roots = x509.load_pem_x509_certificates(snapshot.bundle.encode())
    assert snapshot.bundle.count("-----BEGIN ") == len(roots) == len(set(roots)) > 0
    path = [each[0] for each in links]
    if path:
        assert path[0] == snapshot.certificate
        top = path[-1]
    else:
        assert snapshot.certificate in roots
        top = snapshot.certificate
    for lower, upper in pairwise(path):
        lower.verify_directly_issued_by(upper)
    assert any(root.subject == top.issuer for root in roots)
    assert not any(each in roots and each.issuer == each.subject for each in path)
    assert NOW < snapshot.not_after <= snapshot.certificate.not_valid_after_utc
    assert "PRIVATE" not in snapshot.bundle + "".join(snapshot.chain)


def outcome_of(start: Callable[[], GivenAuthority]) -> SignerSnapshot | str:
    """Return what signs, or why nothing does."""
    try:
        snapshot = start().current()
    except GivenAuthorityError as error:
        return str(error)
    assert snapshot is not None
    return snapshot


def require_silence(text: str) -> None:
    assert not any(line in text for line in KEY_LINES)
    assert text.isprintable()


@pytest.mark.proves("PL-5", "PL-7", "PL-11")
@given(st.dictionaries(st.sampled_from((*NAMES, *tls_form(tiers()))), texts(), max_size=2))
def test_damaged_folders(changes: dict[str, bytes]) -> None:
    with TemporaryDirectory() as name:
        folder = put(Path(name), WHOLE[0] | changes)
        outcome = outcome_of(lambda: PluggedAuthority(folder, trust_domain=TD, clock=SetClock()))
        if isinstance(outcome, str):
            require_silence(outcome)
            assert name in outcome
        else:
            require_sound(outcome)


@pytest.mark.proves("PL-19", "PL-20")
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(NAMES), st.none() | texts() | st.sampled_from(PARTS), max_size=4
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_is_written_something_sound_signs(
    writes: list[dict[str, bytes | None]], accepts_more_roots: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = put(Path(name), WHOLE[0])
        authority = PluggedAuthority(
            folder,
            trust_domain=TD,
            clock=SetClock(),
            accepts_more_roots=accepts_more_roots,
        )
        before = authority.current()
        for write in writes:
            for file, text in write.items():
                if text is None:
                    (folder / file).unlink(missing_ok=True)
                else:
                    (folder / file).write_bytes(text)
            authority.look()
            after = authority.current()
            assert before is not None
            assert after is not None
            require_sound(after)
            require_silence(authority.problem)
            if not accepts_more_roots:
                assert after.bundle == before.bundle
            assert after is before or after.generation == before.generation + 1
            assert not authority.problem or after is before
            before = after


def test_every_renewal_is_taken_up_whatever_came_before() -> None:
    with TemporaryDirectory() as name:
        folder = put(Path(name), WHOLE[0])
        authority = PluggedAuthority(folder, trust_domain=TD, clock=SetClock())
        for damage in (b"", b"\x00", PARTS[0][:100]):
            for file in NAMES:
                (folder / file).write_bytes(damage)
            authority.look()
            assert authority.problem
        put(folder, WHOLE[1])
        authority.look()
        snapshot = authority.current()
        assert snapshot is not None
        assert authority.problem == ""
        assert snapshot.not_after == NOW - timedelta(hours=1) + timedelta(days=31)


SECRET = secret_manifest(secret_entries(istio_root("P-256")))


@pytest.mark.proves("PL-26")
@given(st.data())
def test_damaged_secrets(data: st.DataObject) -> None:
    text = SECRET
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 60)))
        inserted = data.draw(st.text("{}[]:-\n \"'&*!#|>abAB=", max_size=6))
        text = text[:start] + inserted + text[end:]
    with TemporaryDirectory() as name:
        path = Path(name) / "secret.yaml"
        path.write_text(text)
        outcome = outcome_of(lambda: IstioSecretAuthority(path, trust_domain=TD, clock=SetClock()))
        if isinstance(outcome, str):
            assert str(path) in outcome
            assert outcome.isprintable()
        else:
            require_sound(outcome)
