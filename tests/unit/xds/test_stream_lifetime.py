"""How long a stream lasts: as any, or as the token that opened it."""

from dataclasses import replace

import pytest

from controlplane.snapshots.catalog import Catalog
from controlplane.xds.server import XdsServer
from controlplane.xds.settings import XdsSettings
from tests.support.dataflow_time import VirtualClock
from tests.support.issuing import WAYPOINT, ZTUNNEL

AGE = 1000.0


def a_server() -> tuple[XdsServer, VirtualClock]:
    clock = VirtualClock()
    return XdsServer(Catalog(), XdsSettings(connection_age=AGE), clock), clock


@pytest.mark.proves("WS-30")
@pytest.mark.parametrize("caller", [WAYPOINT, ZTUNNEL])
async def test_a_stream_ends_with_its_token(caller: object) -> None:
    server, clock = a_server()
    ends = replace(caller, expires_at=clock.now().timestamp() + 60)  # type: ignore[type-var]
    assert server._last_moment(ends) == (60.0, "the token it was opened with expired")


@pytest.mark.refutes("WS-30")
async def test_a_token_that_outlives_the_stream_or_never_ends_changes_nothing() -> None:
    server, clock = a_server()
    later = replace(WAYPOINT, expires_at=clock.now().timestamp() + 10 * AGE)
    for caller in (later, replace(WAYPOINT, expires_at=None), None):
        until, reason = server._last_moment(caller)
        assert AGE <= until <= AGE * 4 / 3
        assert reason == "connection age reached"


async def test_a_token_in_its_last_moment_does_not_bring_its_client_back_at_once() -> None:
    server, clock = a_server()
    last = replace(WAYPOINT, expires_at=clock.now().timestamp() - 5)
    assert server._last_moment(last)[0] == 1.0
