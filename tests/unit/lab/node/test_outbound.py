"""What a node opens no connection for."""

from random import Random

import pytest
from google.protobuf.message import Message

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.node.access import AccessLog
from controlplane.lab.node.outbound import Outbound, UnreachableError
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.route import Router
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import workload_pb2
from tests.support.issuing import SetClock
from tests.support.wire import a_response, a_service, a_workload, uid_of

WEB = a_service("web", vips=["10.1.0.1"], ports={80: 8080})
BEHIND = {"default/web": {80: 8080}}


async def _certificate(identity: str) -> HeldCertificate:
    raise AssertionError(f"nobody has to know who {identity} is")


async def _refusal(
    *messages: Message, host: str, port: int = 80, captured: bool = True
) -> tuple[str, list[str]]:
    """Return why there is no connection, and what the access log says."""
    session = Session(NodeIdentity())
    session.connect()
    protocol = workload_pb2.HBONE if captured else workload_pb2.NONE
    client = a_workload("client", ips=["127.0.0.1"], tunnel_protocol=protocol)
    session.receive(a_response(client, *messages))
    assert session.nacks == []
    log = AccessLog()
    router = Router(state=session.state, random=Random(1))
    outbound = Outbound(session.state, router, _certificate, log, SetClock())
    with pytest.raises(UnreachableError) as caught:
        await outbound.connect(session.state.workloads.by_uid[uid_of("client")], host, port)
    return str(caught.value), [record.error for record in log.records]


@pytest.mark.parametrize("captured", [True, False])
async def test_nothing_outside_this_machine_is_connected_to(*, captured: bool) -> None:
    pod = a_workload("a", ips=["10.0.0.1"], services=BEHIND)
    reason, told = await _refusal(WEB, pod, host="10.1.0.1", captured=captured)
    assert reason == "10.0.0.1:8080 is outside this machine"
    # A pod that no proxy captures has nobody who would tell of its connections.
    assert told == ([reason] if captured else [])


async def test_nor_an_address_that_is_no_part_of_the_mesh() -> None:
    reason, _ = await _refusal(host="192.0.2.1", port=443)
    assert reason == "192.0.2.1:443 is outside this machine"


async def test_names_of_nobody_lead_nowhere() -> None:
    reason, told = await _refusal(host="missing")
    assert reason == "missing is no name of the mesh"
    assert told == [reason]


async def test_a_service_without_endpoints_leads_nowhere() -> None:
    reason, _ = await _refusal(WEB, host="10.1.0.1", captured=False)
    assert reason.endswith("has no endpoint")
