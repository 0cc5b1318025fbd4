"""Which formats of log lines are accepted."""

from typing import Any

import pytest

from controlplane.mesh.log_formats import (
    MOST_CHARACTERS,
    MOST_DEPTH,
    json_fault,
    text_fault,
)

ACCEPTED = (
    "",
    "no words, 100%% sure\n",
    "%START_TIME%",
    "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)%",
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%",
    "%RESP(server)%%TRAILER(grpc-status)%",
    "%FILTER_STATE(io.istio.peer_principal:PLAIN)%",
    "%FILTER_STATE(io.istio.peer_principal)%",
    "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow):9%",
    "%UPSTREAM_METADATA(istio:workload)%",
    "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%",
    "%RESPONSE_CODE%\t%RESPONSE_CODE_DETAILS%\n",
)
REFUSED = (
    "100% sure",
    "%",
    "%%%",
    "%NONESUCH%",
    "%req(x)%",
    "%REQ%",
    "%REQ()%",
    "%REQ(a?b?c)%",
    "%REQ(a b)%",
    "%REQ(x)",
    "%REQ(x):1234567%",
    "%RESPONSE_CODE(x)%",
    "%RESPONSE_CODE:3%",
    "%START_TIME(%q)%",
    "%START_TIME(%s):3%",
    "%FILTER_STATE(:PLAIN)%",
    "%FILTER_STATE(k:GONE)%",
    "%DYNAMIC_METADATA%",
    "%GRPC_STATUS(words)%",
    "%CEL(true)%",
    "%REQ_WITHOUT_QUERY(:PATH)%",
    "\0",
    "\ud800",
    "x" * (MOST_CHARACTERS + 1),
)


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1) if depth > 1 else "%PROTOCOL%"}


@pytest.mark.parametrize("text", ACCEPTED)
@pytest.mark.refutes("WC-62")
def test_formats_of_known_words_are_accepted(text: str) -> None:
    assert text_fault(text) is None
    assert json_fault({"member": text, "number": 1, "flag": True, "none": None}) is None


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:30])
@pytest.mark.proves("WC-62")
def test_anything_else_is_refused(text: str) -> None:
    assert text_fault(text)
    assert json_fault({"inner": {"member": text}})


@pytest.mark.parametrize(
    "fields", [{"a": ["%PROTOCOL%"]}, {"\0": "x"}, nested(MOST_DEPTH + 1)], ids=str
)
def test_members_that_no_line_can_have_are_refused(fields: dict[str, Any]) -> None:
    assert json_fault(fields)


def test_objects_may_be_nested_as_deep_as_is_said() -> None:
    assert json_fault(nested(MOST_DEPTH)) is None
