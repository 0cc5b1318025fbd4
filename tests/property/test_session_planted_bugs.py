"""The property of test_session has teeth: each of these planted faults breaks it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from controlplane.snapshots.table import Table
from controlplane.snapshots.view import View
from controlplane.xds.session import Session
from controlplane.xds.subscription import Nonces
from controlplane.xds.wildcard import PolicySubscription
from tests.property.test_session import Pod, converge, histories, pods

PLANTED: dict[str, tuple[type, str, Any]] = {
    "addresses overtake policies": (Session, "_may_send_addresses", lambda _: True),
    "addresses follow unsent policies": (
        PolicySubscription,
        "is_ahead",
        property(lambda policies: policies.cursor >= 0),
    ),
    "removed policies overtake addresses": (
        Session,
        "_removable_until",
        lambda session, _: session._catalog.commit,
    ),
    "forgotten removals go unnoticed": (Table, "reaches", lambda _, __: True),
    "a policy that moves is removed": (View, "_hidden", lambda _, __, resource: resource is None),
    "nonces repeat": (Nonces, "shared", lambda _, __, commit: str(commit)),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, planted = PLANTED[fault]
    monkeypatch.setattr(owner, name, planted)

    @settings(
        max_examples=2000,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(pods=pods, history=histories)
    def play(pods: dict[int, Pod | None], history: list[Any]) -> None:
        converge(pods, history, node="n1")

    with pytest.raises(AssertionError):
        play()
