"""Every operation of the API's own document, asked at random: schemas hold and nothing breaks."""

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from controlplane.admin.reading.certificates import Authorities
from tests.support.admin import ADMIN_TOKEN, REPLICA, AdminRig, HeldAuthorities
from tests.support.two_teams import OWN, two_teams

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HEADERS = {"authorization": f"Bearer {ADMIN_TOKEN}"}
THERE: dict[str, list[Any]] = {
    "uid": [f"Kubernetes//Pod/{OWN}/{OWN}-shop-1"],
    "namespace": [OWN],
    "hostname": [f"{OWN}-shop.{OWN}.svc.cluster.local"],
    "name": [f"{OWN}-callers", f"{OWN}-waypoint"],
    "node": [f"node-{OWN}"],
    "replica": [REPLICA],
    "number": [1, 2],
}
"""Path parameters of things that are there; most requests use them."""


def _populated() -> AdminRig:
    rig = two_teams()
    rig.knowledge.authorities = HeldAuthorities(
        Authorities(trust_domain="cluster.local", state=None, authorities=(), roots=())
    )
    return rig


@pytest.mark.timeout(180)
def test_the_api_is_as_it_says() -> None:
    application = _populated().application()
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", application, headers=HEADERS)
    statuses: Counter[int] = Counter()
    found: list[Any] = list(schema.get_all_operations())
    operations = [result.ok() for result in found]
    assert len(operations) > 20

    def ask(operation: Any) -> None:
        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(), there=st.data())
        def asked(case: Any, there: st.DataObject) -> None:
            if there.draw(st.integers(0, 2)):
                for name in case.path_parameters or ():
                    case.path_parameters[name] = there.draw(st.sampled_from(THERE[name]))
                if case.query:
                    case.query.pop("after", None)
            if case.method == "POST" and isinstance(case.body, dict):
                case.body["seconds"] = 0
            response = case.call(headers=HEADERS)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        asked()

    for operation in operations:
        ask(operation)
    good = sum(times for status, times in statuses.items() if status // 100 == 2)
    assert not [status for status in statuses if status >= 500]
    assert good * 2 >= sum(statuses.values()), statuses


@pytest.mark.timeout(180)
def test_what_makes_no_sense_is_refused_and_breaks_nothing() -> None:
    application = _populated().application()
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", application, headers=HEADERS)
    found: list[Any] = list(schema.get_all_operations())
    statuses: Counter[int] = Counter()

    def ask(operation: Any) -> None:
        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def asked(case: Any) -> None:
            response = case.call(headers=HEADERS)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        asked()

    for operation in (result.ok() for result in found):
        has_input = operation.query or operation.path_parameters or operation.body
        if has_input:
            ask(operation)
    refused = sum(times for status, times in statuses.items() if 400 <= status < 500)
    assert refused * 2 >= sum(statuses.values()), statuses
