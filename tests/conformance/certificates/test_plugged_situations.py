"""The situations of docs/protocol/plugged.md, by their numbers."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.istio_secret import IstioSecretAuthority
from controlplane.ca.plugged import PluggedAuthority
from tests.support.authorities import Authority, a_key
from tests.support.issuing import SetClock
from tests.support.plugged import (
    Tiers,
    istio_form,
    istio_root,
    key_pem,
    link,
    put,
    secret_entries,
    secret_manifest,
    tiers,
    tls_form,
    usage,
)

PAGE = Path(__file__).parents[3] / "docs" / "protocol" / "plugged.md"
FORMS = {
    "istio": (istio_form, "ca-cert.pem", "ca-key.pem"),
    "tls": (tls_form, "tls.crt", "tls.key"),
}
STRANGER = key_pem(a_key(number=999))


def test_every_situation_of_the_page_has_a_test() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    tested = re.findall(r"^def test_situation_(\d+)_", Path(__file__).read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(set(tested))


def start(folder: Path) -> PluggedAuthority:
    return PluggedAuthority(folder, trust_domain="cluster.local", clock=SetClock())


def start_secret(folder: Path, entries: dict[str, bytes]) -> IstioSecretAuthority:
    (folder / "secret.yaml").write_text(secret_manifest(entries))
    return IstioSecretAuthority(
        folder / "secret.yaml", trust_domain="cluster.local", clock=SetClock()
    )


def leaf_that_signs() -> Authority:
    """Return a certificate below the middle one that is no authority, and its key."""
    return link(
        key=a_key(number=998),
        parent=tiers().middle,
        extensions=[(usage(digital_signature=True), True)],
        life=timedelta(days=1),
    )


Form = Callable[[Tiers], dict[str, bytes]]


@pytest.mark.proves("PL-3", "PL-17")
@pytest.mark.parametrize(
    ("form", "name"), [(form, name) for form, *_ in FORMS.values() for name in form(tiers())]
)
def test_situation_47_incomplete(tmp_path: Path, form: Form, name: str) -> None:
    put(tmp_path, form(tiers()))
    assert start(tmp_path).current() is not None
    (tmp_path / name).unlink()
    with pytest.raises(GivenAuthorityError, match=f"{tmp_path} is incomplete, missing: .*{name}"):
        start(tmp_path)


@pytest.mark.proves("PL-9", "PL-17")
@pytest.mark.parametrize(("form", "certificate", "key"), FORMS.values(), ids=FORMS)
def test_situation_47_key_mismatch(tmp_path: Path, form: Form, certificate: str, key: str) -> None:
    put(tmp_path, form(tiers()) | {key: STRANGER})
    with pytest.raises(
        GivenAuthorityError, match=f"{tmp_path}/{key} does not belong .*{certificate}"
    ):
        start(tmp_path)


@pytest.mark.proves("PL-10", "PL-17")
@pytest.mark.parametrize(("form", "certificate", "key"), FORMS.values(), ids=FORMS)
def test_situation_47_no_authority(tmp_path: Path, form: Form, certificate: str, key: str) -> None:
    given = Tiers(root=tiers().root, middle=tiers().middle, signing=leaf_that_signs())
    put(tmp_path, form(given))
    with pytest.raises(GivenAuthorityError, match=f"{tmp_path}/{certificate} is no authority"):
        start(tmp_path)


@pytest.mark.proves("PL-17", "PL-26")
def test_situation_47_secret(tmp_path: Path) -> None:
    entries = secret_entries(istio_root())
    assert start_secret(tmp_path, entries).current() is not None
    no_root = link(key=a_key("RSA-2048", 600), extensions=[(usage(digital_signature=True), True)])
    for wrong, fault in (
        ({"ca-key.pem": b""}, r"secret\.yaml has no ca-key\.pem"),
        ({"ca-key.pem": STRANGER}, r"secret\.yaml/ca-key\.pem does not belong"),
        ({"ca-cert.pem": no_root.pem.encode()}, r"secret\.yaml/ca-cert\.pem is no authority"),
    ):
        with pytest.raises(GivenAuthorityError, match=fault):
            start_secret(tmp_path, entries | wrong)
