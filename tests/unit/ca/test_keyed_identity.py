"""Keys that we make for callers who were authenticated elsewhere."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.ca.errors import RateLimitedError, UnboundCredentialsError
from controlplane.ca.limits import RateLimits
from controlplane.ca.requests import RequestSettings
from tests.support.issuing import PEER, WAYPOINT, Desk


async def test_a_key_and_its_certificate_belong_together_and_to_the_caller() -> None:
    desk = Desk()
    issued = await desk.requests.issue_identity(WAYPOINT, PEER)
    key = load_pem_private_key(issued.key, None)
    leaf, signer = x509.load_pem_x509_certificates(issued.chain)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == leaf.public_key()
    assert leaf.issuer == signer.subject
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [each.value for each in names] == ["spiffe://cluster.local/ns/shop/sa/waypoint"]
    assert leaf.not_valid_after_utc == issued.not_after


async def test_it_is_in_the_ledger_like_any_other() -> None:
    desk = Desk()
    issued = await desk.requests.issue_identity(WAYPOINT, PEER)
    (row,) = desk.ledger.issued
    assert (row.spiffe_id, row.caller_id, row.caller_pod, row.peer_address, row.impersonated) == (
        "spiffe://cluster.local/ns/shop/sa/waypoint",
        "shop/waypoint",
        "waypoint-1",
        PEER,
        False,
    )
    assert row.not_after == issued.not_after
    assert desk.witness.heard == ["requested", "signed", "issued P-256"]


async def test_no_two_are_alike_and_none_is_shown() -> None:
    desk = Desk()
    one = await desk.requests.issue_identity(WAYPOINT, PEER)
    two = await desk.requests.issue_identity(WAYPOINT, PEER)
    assert one.key != two.key
    assert "PRIVATE" not in repr(one)


async def test_credentials_of_no_pod_get_none_and_that_is_written_down() -> None:
    desk = Desk()
    with pytest.raises(UnboundCredentialsError):
        await desk.requests.issue_identity(replace(WAYPOINT, pod_name="", pod_uid=""), PEER)
    assert len(desk.ledger.refused) == 1
    assert desk.ledger.issued == []
    assert desk.witness.heard == ["requested", "refused"]


async def test_the_limits_are_those_of_requests() -> None:
    desk = Desk(limits=RateLimits(rate_per_caller=1, burst_per_caller=1))
    await desk.requests.issue_identity(WAYPOINT, PEER)
    with pytest.raises(RateLimitedError):
        await desk.requests.issue_identity(WAYPOINT, PEER)


async def test_strictly_no_row_no_key() -> None:
    desk = Desk(settings=RequestSettings(is_ledger_strict=True))
    desk.ledger.failure = OSError("full")
    with pytest.raises(Exception, match="ledger did not take"):
        await desk.requests.issue_identity(WAYPOINT, PEER)
