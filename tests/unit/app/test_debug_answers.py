"""Debug questions on streams, answered as over HTTP."""

import json

import pytest
from envoy.service.status.v3 import csds_pb2
from google.protobuf.any_pb2 import Any

from controlplane.admin.debug.documents import DebugDocuments
from controlplane.app.debug_answers import StreamAnswers
from controlplane.authentication.caller import Caller
from controlplane.xds.debug import DebugQuestion
from controlplane.xds.errors import ForbiddenError, MalformedRequestError
from tests.support.two_teams import OTHER, OWN, two_teams

OWN_ACCOUNT = Caller(namespace=OWN, service_account="someone", cluster="c")
OPERATOR = Caller(namespace="istio-system", service_account="istioctl", cluster="c")


def answers() -> StreamAnswers:
    rig = two_teams()
    return StreamAnswers(
        DebugDocuments(rig.view),
        rig.clock,
        replica="r-1",
        version="1.2.3",
        root_namespaces=lambda: {"istio-system"},
    )


async def clients(caller: Caller | None, *names: str, proxy: str = "") -> list[str]:
    question = DebugQuestion(
        name="syncz", resources=names, parameters=(("proxyID", proxy),) if proxy else ()
    )
    found = []
    for each in await answers().answer(question, caller):
        config = csds_pb2.ClientConfig()
        assert Any.FromString(each).Unpack(config)
        found.append(config.node.id)
    return found


async def test_operators_are_told_of_every_client() -> None:
    everybody = [f"proxy-1.{OWN}", "proxy-1.istio-system", f"proxy-1.{OTHER}"]
    assert await clients(OPERATOR) == everybody
    assert await clients(None) == everybody
    assert await clients(OPERATOR, f"proxy-1.{OTHER}") == [f"proxy-1.{OTHER}"]
    assert await clients(OPERATOR, proxy="istio-system") == ["proxy-1.istio-system"]


async def test_a_namespace_is_told_of_its_own_clients() -> None:
    assert await clients(OWN_ACCOUNT) == [f"proxy-1.{OWN}"]
    assert await clients(OWN_ACCOUNT, f"proxy-1.{OTHER}") == []


async def test_other_questions_are_answered_as_text() -> None:
    question = DebugQuestion(name="ambientz", is_text=True)
    (resource,) = await answers().answer(question, OWN_ACCOUNT)
    packed = Any.FromString(resource)
    assert packed.type_url == "istio.io/debug"
    assert OTHER.encode() not in packed.value
    assert set(json.loads(packed.value)) == {"workloads", "services", "policies"}


async def test_what_may_not_be_asked_is_refused() -> None:
    with pytest.raises(ForbiddenError, match="whole mesh"):
        await answers().answer(DebugQuestion(name="mesh"), OWN_ACCOUNT)
    for name in ("nonsense", "config_dump"):
        with pytest.raises(MalformedRequestError):
            await answers().answer(DebugQuestion(name=name), OPERATOR)
