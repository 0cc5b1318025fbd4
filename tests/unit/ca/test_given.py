from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given import Given, given_in
from controlplane.ca.given_files import GivenFiles
from tests.support.authorities import Authority, a_key, an_authority
from tests.support.issuing import NOW
from tests.support.plugged import CA, MAY_SIGN, YEAR, key_pem, link, plugged_root, tiers, usage

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def load(
    signing: Authority,
    *,
    between: Sequence[Authority] = (),
    roots: Sequence[Authority],
    key: bytes | None = None,
    beside: Sequence[Authority] = (),
) -> Given:
    def text(authorities: Sequence[Authority]) -> bytes:
        return "".join(each.pem for each in authorities).encode()

    files = GivenFiles(
        place="cacerts",
        texts={
            "cert": text([signing, *beside]),
            "key": key or key_pem(signing.key),
            "chain": text(between),
            "roots": text(roots),
        },
        certificate="cert",
        key="key",
        chain="chain",
        roots="roots",
    )
    return given_in(files, trust_domain="cluster.local", generation=1, now=NOW)


def below(
    parent: Authority, number: int = 1, *, path_length: int = 0, life: timedelta = DAY
) -> Authority:
    return an_authority(
        f"below {number}",
        key=a_key(number=800 + number),
        parent=parent,
        path_length=path_length,
        not_before=NOW - HOUR,
        life=life,
    )


@pytest.mark.proves("PL-9")
def test_a_key_of_another_certificate() -> None:
    given = tiers()
    with pytest.raises(GivenAuthorityError, match=r"cacerts/key does not belong .* cacerts/cert"):
        load(given.signing, between=[given.middle], roots=[given.root], key=key_pem(a_key()))
    # The first certificate of its file signs, not any.
    with pytest.raises(GivenAuthorityError, match="does not belong"):
        load(
            given.middle,
            beside=[given.signing],
            roots=[given.root],
            key=key_pem(given.signing.key),
        )


@pytest.mark.refutes("PL-9", "PL-10", "PL-11", "PL-12", "PL-13", "PL-14")
def test_nothing_is_wrong() -> None:
    given = tiers()
    found = load(given.signing, between=[given.signing, given.middle], roots=[given.root])
    assert found.snapshot.chain == (given.signing.pem, given.middle.pem)
    assert found.root == given.root.certificate
    assert found.roots == {given.root.certificate}


NO_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
NO_SIGNING = (usage(digital_signature=True), True)


@pytest.mark.proves("PL-10")
@pytest.mark.parametrize("extensions", [[NO_CA, MAY_SIGN], [CA, NO_SIGNING], [CA], [MAY_SIGN], []])
def test_no_authority(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    root = plugged_root()
    odd = link(key=a_key(number=801), parent=root, extensions=extensions)
    with pytest.raises(GivenAuthorityError, match="CN=odd in cacerts/cert is no authority"):
        load(odd, roots=[root])
    with pytest.raises(GivenAuthorityError, match="CN=odd in cacerts/chain is no authority"):
        load(below(odd), between=[odd], roots=[root])


@pytest.mark.proves("PL-10")
@pytest.mark.parametrize("extensions", [[NO_CA], [CA, NO_SIGNING], []])
def test_a_root_that_is_no_authority(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    odd = link(key=a_key(number=802), extensions=extensions)
    with pytest.raises(GivenAuthorityError, match="CN=odd in cacerts/roots is no authority"):
        load(below(plugged_root()), roots=[plugged_root(), odd])


@pytest.mark.refutes("PL-10")
def test_an_old_root_without_usages() -> None:
    root = link(key=a_key(number=802), extensions=[CA])
    assert load(below(root), roots=[root]).root == root.certificate


@pytest.mark.proves("PL-11")
def test_order_does_not_matter_and_what_is_not_needed_is_left_out() -> None:
    given, stranger = tiers(), tiers(number=1)
    expected = (given.signing.pem, given.middle.pem)
    for between in ([stranger.signing, given.middle], [given.middle, given.signing, given.root]):
        found = load(given.signing, between=between, roots=[stranger.root, given.root])
        assert found.snapshot.chain == expected
        assert found.snapshot.bundle == stranger.root.pem + given.root.pem
    for found in (
        load(given.signing, beside=[given.middle], roots=[given.root]),
        load(given.signing, roots=[given.middle, given.root]),
    ):
        assert found.snapshot.chain == expected
        assert found.root == given.root.certificate


@pytest.mark.proves("PL-11")
def test_no_path() -> None:
    given, stranger = tiers(), tiers(number=1)
    fault = "in cacerts/cert does not lead to a self-signed root in cacerts/roots"
    for between, roots in (
        ([], [given.root]),
        ([given.signing], [given.root]),
        ([given.middle, given.root], [stranger.root]),
        ([given.root], [given.middle]),
    ):
        with pytest.raises(GivenAuthorityError, match=fault):
            load(given.signing, between=between, roots=roots)


@pytest.mark.proves("PL-11")
def test_a_namesake_of_the_issuer_is_not_followed() -> None:
    root = plugged_root()
    first, second = below(root, 1, path_length=1), below(root, 2, path_length=1)
    namesake = an_authority(
        "below 1", key=second.key, parent=root, path_length=1, not_before=NOW - HOUR, life=DAY
    )
    signing = below(first, 3)
    found = load(signing, between=[namesake, first], roots=[root])
    assert found.snapshot.chain == (signing.pem, first.pem)


@pytest.mark.proves("PL-11")
def test_of_two_paths_the_one_without_a_fault() -> None:
    root = plugged_root()
    key = a_key(number=810)

    def middle(life: timedelta) -> Authority:
        return an_authority(
            "renewed", key=key, parent=root, path_length=1, not_before=NOW - HOUR, life=life
        )

    ended, short, long = middle(timedelta(minutes=1)), middle(DAY), middle(YEAR)
    signing = below(long, life=2 * DAY)
    for between in ([ended, short, long], [long, short, ended]):
        found = load(signing, between=between, roots=[root])
        assert found.snapshot.chain == (signing.pem, long.pem)
    with pytest.raises(GivenAuthorityError, match=r"renewed.* in cacerts/chain is valid from"):
        load(signing, between=[ended], roots=[root])


def test_cross_signed_authorities_in_a_circle() -> None:
    keys = [a_key(number=820 + number) for number in range(2)]
    loops = []
    for number in range(2):
        other = link(key=keys[1 - number], extensions=[CA, MAY_SIGN], name=f"loop {1 - number}")
        loops.append(
            link(key=keys[number], parent=other, extensions=[CA, MAY_SIGN], name=f"loop {number}")
        )
    signing = below(loops[0])
    with pytest.raises(GivenAuthorityError, match="does not lead to"):
        load(signing, between=loops, roots=[plugged_root()])


@pytest.mark.proves("PL-12")
@pytest.mark.parametrize(("begins", "life"), [(-2 * DAY, DAY), (HOUR, DAY)])
def test_not_valid_now(begins: timedelta, life: timedelta) -> None:
    root = plugged_root()
    limited = partial(link, extensions=[CA, MAY_SIGN], begins=NOW + begins, life=life)
    odd = limited(key=a_key(number=803), parent=root)
    odd_root = limited(key=a_key(number=804))
    for signing, between, roots, file in (
        (odd, [], [root], "cert"),
        (below(odd), [odd], [root], "chain"),
        (below(odd_root), [], [odd_root], "roots"),
    ):
        with pytest.raises(GivenAuthorityError, match=f"CN=odd in cacerts/{file} is valid from 20"):
            load(signing, between=between, roots=roots)
    # A root that nothing hangs on may be anything.
    assert load(below(root), roots=[root, odd_root]).root == root.certificate


@pytest.mark.proves("PL-13")
def test_more_below_it_than_it_allows() -> None:
    root = plugged_root()
    middle = below(root, 1, path_length=0)
    with pytest.raises(GivenAuthorityError, match=r"in cacerts/chain allows 0 .* there are 1"):
        load(below(middle, 2), between=[middle], roots=[root])
    low = an_authority(
        "low", key=a_key(number=805), path_length=0, not_before=NOW - HOUR, life=YEAR
    )
    with pytest.raises(GivenAuthorityError, match=r"in cacerts/roots allows 0 .* there are 1"):
        load(below(low), roots=[low])
    assert load(low, roots=[low]).snapshot.chain == ()


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.proves("PL-14")
@pytest.mark.parametrize(
    ("extension", "fault"),
    [
        ((UNKNOWN, True), r"critical extension that nobody knows \(1\.2\.3\.4\)"),
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False), "not be used for both"),
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), True), "not be used for both"),
        (
            (x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None), True),
            "constrains URIs",
        ),
    ],
)
def test_what_proxies_refuse(extension: tuple[x509.ExtensionType, bool], fault: str) -> None:
    root = plugged_root()
    odd = link(key=a_key(number=806), parent=root, extensions=[CA, MAY_SIGN, extension])
    with pytest.raises(GivenAuthorityError, match=f"CN=odd in cacerts/cert .*{fault}"):
        load(odd, roots=[root])
    with pytest.raises(GivenAuthorityError, match=f"CN=odd in cacerts/chain .*{fault}"):
        load(below(odd), between=[odd], roots=[root])


@pytest.mark.proves("PL-14")
def test_weak_signatures_and_keys() -> None:
    root = plugged_root("RSA-2048")
    weak_key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is to be refused
    weak = link(key=weak_key, parent=root, extensions=[CA, MAY_SIGN])
    with pytest.raises(GivenAuthorityError, match="a key of 1024 bits"):
        load(below(weak), between=[weak], roots=[root])
    weak_root = link(key=weak_key, extensions=[CA, MAY_SIGN])
    with pytest.raises(GivenAuthorityError, match=r"cacerts/roots .*a key of 1024 bits"):
        load(below(weak_root), roots=[weak_root])


@pytest.mark.refutes("PL-14")
@pytest.mark.parametrize(
    "extension",
    [
        (UNKNOWN, False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        (
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            False,
        ),
        (x509.NameConstraints([x509.DNSName("example.org")], None), True),
    ],
)
def test_what_proxies_take(extension: tuple[x509.ExtensionType, bool]) -> None:
    root = plugged_root()
    odd = link(key=a_key(number=806), parent=root, extensions=[CA, MAY_SIGN, extension])
    assert load(odd, roots=[root]).snapshot.chain == (odd.pem,)


def test_a_subject_with_a_line_feed_stays_on_its_line() -> None:
    odd = link(key=a_key(number=807), extensions=[CA, MAY_SIGN], name="a\nfaked line\x1b[31m")
    with pytest.raises(GivenAuthorityError) as raised:
        load(odd, roots=[plugged_root()])
    assert str(raised.value).isprintable()
