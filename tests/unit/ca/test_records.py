import pytest

from controlplane.ca.errors import ImpersonationDeniedError, reply_for
from controlplane.ca.records import Attempt, refused, wanted
from tests.support.issuing import NOW, PEER, SHOP, ZTUNNEL


@pytest.mark.proves("CA-12")
def test_a_refusal_says_who_what_and_why() -> None:
    attempt = Attempt(request_id="r", peer=PEER, caller=ZTUNNEL, named=str(SHOP))
    row = refused(attempt, reply_for(ImpersonationDeniedError("not-on-node")), refused_at=NOW)
    assert (row.reason, row.status, row.requested_id) == (
        "not-on-node",
        "UNAUTHENTICATED",
        str(SHOP),
    )
    assert (row.caller_id, row.node, row.caller_pod_uid, row.peer_address) == (
        "istio-system/ztunnel",
        "node-a",
        "uid-ztunnel-a",
        PEER,
    )


def test_a_refusal_of_nobody() -> None:
    row = refused(Attempt(request_id="r", peer=PEER), reply_for(ValueError("x")), refused_at=NOW)
    assert (row.caller_id, row.node, row.requested_id) == ("", "", "")


@pytest.mark.proves("CA-34")
def test_what_was_named_is_kept_readable() -> None:
    assert wanted(None) == ""
    assert wanted(str(SHOP)) == str(SHOP)
    assert wanted("spiffe://a\0b\n\u0430") == "spiffe://a\\x00b\\x0a\\u0430"
    assert len(wanted("spiffe://" + "\0" * 5000)) == 2048


@pytest.mark.refutes("CA-34")
def test_a_secret_in_the_wrong_place_is_not_kept() -> None:
    assert "secret" not in wanted("secret")
    assert wanted("secret").startswith("sha256:")
