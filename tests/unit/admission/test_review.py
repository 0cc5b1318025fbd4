import json
from typing import Any

import pytest

from controlplane.admission.errors import MalformedReviewError
from controlplane.admission.review import Verdict, answer, read_review
from tests.support.admission import UID, a_review, body_of


@pytest.mark.proves("AD-1")
def test_what_is_asked_is_read() -> None:
    judged = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {}}
    request = read_review(body_of(a_review(judged, namespace="shop", subResource="status")))
    assert (request.uid, request.operation, request.namespace) == (UID, "CREATE", "shop")
    assert (request.kind.group, request.kind.kind) == ("security.istio.io", "PeerAuthentication")
    assert request.object == judged
    assert request.old_object is None
    assert request.sub_resource == "status"


def _without(name: str) -> dict[str, Any]:
    review = a_review({"kind": "Pod"})
    del review["request"][name]
    return review


@pytest.mark.proves("AD-2")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "malformed"),
        (b'{"request": {"object": {"a": ' + b"[" * 100_000, "recursion"),
        (b"{}", "missing required field `apiVersion`"),
        (body_of({**a_review({}), "kind": "Pod"}), "only AdmissionReview of admission.k8s.io/v1"),
        (
            body_of({**a_review({}), "apiVersion": "admission.k8s.io/v1beta1"}),
            "only AdmissionReview of admission.k8s.io/v1",
        ),
        (body_of(_without("uid")), "missing required field `uid` - at `$.request`"),
        (body_of(_without("operation")), "missing required field `operation`"),
        (body_of(a_review({}, uid="")), "request.uid is empty or too long"),
        (body_of(a_review({}, uid="u" * 257)), "request.uid is empty or too long"),
        (body_of(a_review({}, uid=3)), "Expected `str`, got `int` - at `$.request.uid`"),
        (body_of(a_review({}, object=[])), "Expected `object | null`, got `array`"),
    ],
)
def test_what_is_no_review_is_said_precisely(body: bytes, says: str) -> None:
    with pytest.raises(MalformedReviewError) as error:
        read_review(body)
    assert says in str(error.value)
    assert str(error.value).startswith("not an AdmissionReview: ")


@pytest.mark.refutes("AD-2")
def test_fields_that_nobody_reads_do_not_matter() -> None:
    review = a_review({"kind": "Pod"}, unheardOf={"a": [1]})
    review["more"] = 1
    assert read_review(body_of(review)).object == {"kind": "Pod"}


def _answered(verdict: Verdict) -> dict[str, Any]:
    found = json.loads(answer("u-1", verdict))
    assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = found["response"]
    assert response["uid"] == "u-1"
    return response


@pytest.mark.refutes("AD-1", "AD-4")
def test_an_allowed_object_has_neither_a_status_nor_warnings() -> None:
    assert _answered(Verdict()) == {"uid": "u-1", "allowed": True}


@pytest.mark.proves("AD-4")
def test_a_refusal_names_all_errors() -> None:
    response = _answered(Verdict(errors=("spec.a: one", "spec.b: two"), warnings=("three",)))
    assert response == {
        "uid": "u-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": "spec.a: one; spec.b: two",
        },
        "warnings": ["three"],
    }


@pytest.mark.proves("AD-4")
def test_what_is_said_is_bounded() -> None:
    many = tuple(f"spec.rules[{number}]: {'x' * 1000}" for number in range(50))
    response = _answered(Verdict(errors=many, warnings=many))
    message = response["status"]["message"]
    assert len(message) == 4096
    assert message.endswith("...; and 30 more")
    assert len(response["warnings"]) == 10
    assert max(map(len, response["warnings"])) == 256
    assert response["warnings"][-1] == "and 41 more warnings"


@pytest.mark.proves("AD-4")
def test_a_warning_is_one_line() -> None:
    assert _answered(Verdict(warnings=("a\nb\x00c\u2028d",)))["warnings"] == ["a?b?c?d"]


@pytest.mark.refutes("AD-4")
def test_ten_warnings_are_all_said() -> None:
    ten = tuple(f"warning {number}" for number in range(10))
    assert _answered(Verdict(warnings=ten))["warnings"] == list(ten)
