"""Whatever the webhook is sent, it answers with a verdict or says what is wrong with it."""

import asyncio
import json
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.admission.application import Admission
from tests.support.admission import CommittedMesh, Json, Seen, a_review, body_of
from tests.support.cluster_time import PassingClock

MESH = CommittedMesh()
_GROUPS = {
    "AuthorizationPolicy": "security.istio.io",
    "PeerAuthentication": "security.istio.io",
    "RequestAuthentication": "security.istio.io",
    "ServiceEntry": "networking.istio.io",
    "WorkloadEntry": "networking.istio.io",
    "Gateway": "gateway.networking.k8s.io",
}
_OBJECTS: dict[str, Json] = {
    "AuthorizationPolicy": {
        "targetRefs": [{"kind": "Service", "name": "web", "group": ""}],
        "action": "DENY",
        "rules": [
            {
                "from": [{"source": {"ipBlocks": ["10.0.0.0/8"], "principals": ["*"]}}],
                "to": [{"operation": {"ports": ["80"], "methods": ["GET"]}}],
                "when": [{"key": "source.ip", "values": ["10.0.0.1"]}],
            }
        ],
    },
    "PeerAuthentication": {
        "selector": {"matchLabels": {"app": "a"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"80": {"mode": "DISABLE"}},
    },
    "RequestAuthentication": {"jwtRules": [{"issuer": "i", "fromHeaders": [{"name": "a"}]}]},
    "ServiceEntry": {
        "hosts": ["a.example.com"],
        "addresses": ["10.0.0.0/8"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.1", "ports": {"http": 1}, "labels": {"a": "b"}}],
    },
    "WorkloadEntry": {"address": "10.0.0.1", "labels": {"a": "b"}, "weight": 3},
    "Gateway": {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        "infrastructure": {"labels": {"a": "b"}},
    },
}
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["10.0.0.0/99", "*", "none", "\x00", "UPDATE", "DELETE", "CONNECT"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in items:
        if isinstance(below, dict | list):
            found.extend(_places(below, (*path, key)))
        else:
            found.append((*path, key))
    return found


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Reviews with some places replaced, dropped or added to; sometimes cut or of wrong bytes."""
    kind = draw(st.sampled_from(sorted(_OBJECTS)))
    metadata = {
        "name": "a",
        "namespace": "shop",
        "labels": {"istio.io/use-waypoint": "w"},
        "annotations": {"istio.io/dry-run": "true"},
    }
    judged = {
        "apiVersion": f"{_GROUPS[kind]}/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": _OBJECTS[kind],
    }
    operation = draw(st.sampled_from(["CREATE", "UPDATE", "DELETE", "CONNECT"]))
    review = json.loads(body_of(a_review(judged, operation=operation, old=judged)))
    for _ in range(draw(st.integers(0, 4))):
        *path, last = draw(st.sampled_from(_places(review)))
        holder = review
        for step in path:
            holder = holder[step]
        if draw(st.booleans()):
            holder[last] = draw(_VALUES)
        elif isinstance(holder, dict):
            del holder[last]
            holder[draw(st.text(max_size=8))] = draw(_VALUES)
        else:
            holder.insert(last, draw(_VALUES))
        if not _places(review):
            break
    body = body_of(review)
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "flipped"])):
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "flipped":
            at = draw(st.integers(0, len(body) - 1))
            return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]
    return body


@settings(deadline=None)
@given(body=bodies())
def test_no_review_brings_the_webhook_out_of_step(body: bytes) -> None:
    seen = Seen()
    admission = Admission(
        MESH.judge, observer=seen, is_ready=lambda: True, clock=PassingClock()
    ).application()

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(admission)
        async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
            return await client.post("/validate", content=body)

    answered = asyncio.run(asked())
    if answered.status_code == 200:
        response = answered.json()["response"]
        assert set(response) <= {"uid", "allowed", "status", "warnings"}
        assert response["allowed"] is ("status" not in response)
        assert all(len(each) <= 256 for each in response.get("warnings", ()))
        assert seen.statuses == []
    else:
        assert answered.status_code == 400
        assert answered.json()["message"]
        assert seen.statuses == [400]
