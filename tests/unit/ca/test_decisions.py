from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from controlplane.ca.decisions import Decisions, asks_for_signer, named_identity
from controlplane.ca.errors import (
    ImpersonationDeniedError,
    MalformedRequestError,
    UnavailableError,
    UnboundCredentialsError,
)
from tests.support.issuing import SHOP, WAYPOINT, ZTUNNEL, KnownPods


def metadata(**fields: Any) -> Struct:
    return ParseDict(fields, Struct())


def decisions(pods: KnownPods | None = None, *, allows_unbound: bool = False) -> Decisions:
    return Decisions(
        pods or KnownPods(),
        trust_domain="cluster.local",
        allows_unbound_credentials=allows_unbound,
    )


@pytest.mark.proves("CA-5")
def test_what_metadata_names() -> None:
    assert named_identity(metadata()) is None
    assert named_identity(metadata(ImpersonatedIdentity="x", Other=[1])) == "x"
    assert named_identity(metadata(ImpersonatedIdentity="")) == ""
    assert not asks_for_signer(metadata(CertSigner=""))
    assert not asks_for_signer(metadata(CertSigner=3))
    assert asks_for_signer(metadata(CertSigner="x"))


@pytest.mark.refutes("CA-5")
def test_an_unset_value_is_no_string() -> None:
    fields = Struct()
    fields.fields["ImpersonatedIdentity"].Clear()
    with pytest.raises(MalformedRequestError):
        named_identity(fields)


@pytest.mark.proves("CA-8", "CA-9")
async def test_who_names_nobody_is_itself() -> None:
    pods = KnownPods()
    decision = await decisions(pods).decide(WAYPOINT, None)
    assert str(decision.identity) == "spiffe://cluster.local/ns/shop/sa/waypoint"
    assert not decision.is_impersonated
    assert pods.asked == []


@pytest.mark.refutes("CA-9")
@pytest.mark.parametrize("field", ["pod_name", "pod_uid"])
async def test_credentials_of_no_pod(field: str) -> None:
    caller = replace(WAYPOINT, **{field: ""})
    with pytest.raises(UnboundCredentialsError):
        await decisions().decide(caller, None)
    assert (await decisions(allows_unbound=True).decide(caller, None)).identity


@pytest.mark.refutes("CA-8")
async def test_an_account_outside_the_grammar_has_no_identity() -> None:
    with pytest.raises(UnboundCredentialsError) as caught:
        await decisions().decide(replace(WAYPOINT, service_account="a/b"), None)
    assert caught.value.reason_code == "caller-without-identity"


@pytest.mark.proves("CA-10")
async def test_a_named_identity_of_the_node() -> None:
    decision = await decisions().decide(ZTUNNEL, str(SHOP))
    assert decision.identity == SHOP
    assert decision.is_impersonated


@pytest.mark.refutes("CA-10")
async def test_a_named_identity_that_is_not() -> None:
    pods = KnownPods()
    pods.identities.clear()
    with pytest.raises(ImpersonationDeniedError) as denied:
        await decisions(pods).decide(ZTUNNEL, str(SHOP))
    assert denied.value.reason_code == "not-on-node"
    pods.failure = UnavailableError("no view")
    with pytest.raises(UnavailableError):
        await decisions(pods).decide(ZTUNNEL, str(SHOP))
