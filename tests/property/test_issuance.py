"""Whatever is asked, nothing is signed but the one name of the identity that was authorized."""

import asyncio
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ca.errors import Reply
from controlplane.model.identity import Identity
from tests.support.authorities import a_key, a_snapshot
from tests.support.issuing import NOW, SHOP, ZTUNNEL_ITSELF, Desk, a_csr, a_request, leaf_of

WAYPOINT_ITSELF = "spiffe://cluster.local/ns/shop/sa/waypoint"
KEYS = [a_key("P-256"), a_key("P-384"), a_key("RSA-2048"), ec.generate_private_key(ec.SECP224R1())]
SNAPSHOTS = [a_snapshot(kind, now=NOW) for kind in ("P-256", "P-384")]

near_identities = st.one_of(
    st.sampled_from(
        [
            str(SHOP),
            str(ZTUNNEL_ITSELF),
            WAYPOINT_ITSELF,
            "spiffe://cluster.local,istiod.istio-system.svc,x/ns/shop/sa/cart",
            "spiffe://other.local/ns/shop/sa/cart",
            "spiffe://cluster.local/ns/shop/sa/cart,spiffe://cluster.local/ns/a/sa/b",
        ]
    ),
    st.builds(
        "spiffe://{}/ns/{}/sa/{}".format,
        st.sampled_from(["cluster.local", "CLUSTER.LOCAL", "", "cluster.local\0", "a,b"]),
        st.sampled_from(["shop", "istio-system", "", "..", "shop/x", "Shop", "s,p"]),
        st.sampled_from(["cart", "ztunnel", "cart\n", "", "c%61rt", "\u0441art", "a.b"]),
    ),
    st.builds(
        lambda text, at, extra: text[:at] + extra + text[at:],
        st.just(str(SHOP)),
        st.integers(0, len(str(SHOP))),
        st.text(max_size=3),
    ),
    st.text(max_size=40),
)
ascii_names = near_identities.filter(str.isascii)
general_names: st.SearchStrategy[x509.GeneralName] = st.one_of(
    ascii_names.map(x509.UniformResourceIdentifier),
    ascii_names.map(x509.DNSName),
    st.sampled_from(
        [
            x509.IPAddress(ip_address("10.0.0.1")),
            x509.DNSName("istiod.istio-system.svc"),
            x509.RFC822Name("a@b.example"),
            x509.UniformResourceIdentifier(str(SHOP)),
        ]
    ),
)
subjects = st.sampled_from(
    [
        x509.Name([]),
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "istiod.istio-system.svc")]),
    ]
)
wishes = st.lists(
    st.sampled_from(
        [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([x509.OID_CODE_SIGNING]), False),
            (x509.OCSPNoCheck(), False),
        ]
    ),
    max_size=2,
    unique_by=lambda wish: type(wish[0]),
)
csrs = st.builds(
    lambda names, key, subject, extensions: a_csr(
        None, key=key, names=names, subject=subject, extensions=extensions
    ),
    st.lists(general_names, max_size=3),
    st.sampled_from(KEYS),
    subjects,
    wishes,
)
metadata_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | near_identities,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


def sent(text: str) -> bool:
    """Whether a text can be in a message at all: surrogates cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Any]:
    """Return a request and what it names; half the CSRs match the identity that is named."""
    named = draw(st.just(str(SHOP)) | near_identities.filter(sent) | st.none())
    if draw(st.booleans()) and named is not None and named.isascii():
        csr = a_csr(named, key=draw(st.sampled_from(KEYS)))
    else:
        csr = draw(csrs)
    fields = draw(st.dictionaries(st.sampled_from(["CertSigner", "Other"]), metadata_values))
    if not sent(repr(fields)):
        fields = {}
    validity = draw(st.sampled_from([0, 60, 86_400, 7_776_000]) | st.integers(-(2**63), 2**63 - 1))
    return a_request(csr, named=named, validity=validity, metadata=fields), named


@pytest.mark.proves("CA-24", "CA-23")
@pytest.mark.refutes("CA-24")
@given(requests(), st.sampled_from(SNAPSHOTS), st.sampled_from(["ztunnel", "waypoint"]))
def test_nothing_but_the_authorized_identity(
    request_and_name: tuple[bytes, Any], snapshot: Any, token: str
) -> None:
    message, named = request_and_name
    desk = Desk(snapshot=snapshot, draw=0.3)
    answer = asyncio.run(desk.ask(message, {"authorization": f"Bearer {token}"}))
    own = str(ZTUNNEL_ITSELF) if token == "ztunnel" else WAYPOINT_ITSELF
    desk.issuance.close()
    if isinstance(answer, Reply):
        assert desk.ledger.issued == []
        assert len(desk.ledger.refused) == 1
        return
    leaf = leaf_of(answer)
    expected = own if named is None else named
    assert named is None or named in {str(identity) for identity in desk.pods.identities}
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier(expected)]
    assert names.critical
    assert len(leaf.subject) == 0
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    assert leaf.not_valid_after_utc <= NOW + timedelta(days=1)
    assert desk.ledger.issued[0].spiffe_id == expected


@given(near_identities | st.text())
def test_what_parses_is_written_the_same_and_names_nothing_else(text: str) -> None:
    identity = Identity.parse(text)
    if identity is not None:
        assert str(identity) == text
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set(",%?#@\\ ")
        assert text.count("/") == 6
        x509.UniformResourceIdentifier(text)
