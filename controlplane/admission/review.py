"""AdmissionReview v1: the bytes of a request in, what is asked out; a verdict in, bytes out.

docs/protocol/admission.md AD-1 to AD-4, AD-9.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.admission.errors import MalformedReviewError

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
MOST_WARNINGS: Final = 10
LONGEST_WARNING: Final = 256
MOST_ERRORS: Final = 20
LONGEST_MESSAGE: Final = 4096

_LONGEST_UID: Final = 256
_INVALID: Final = 422


class ReviewedKind(msgspec.Struct, frozen=True):
    """The kind of the object a review is about."""

    kind: str
    group: str = ""
    version: str = ""


class ReviewRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What the API server asks: may ``operation`` make ``object`` of ``old_object``?"""

    uid: str
    kind: ReviewedKind
    operation: str
    name: str | None = None
    namespace: str | None = None
    sub_resource: str | None = None
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: ReviewRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``errors`` refuse the object; ``warnings`` are for whoever wrote it.

    ``is_judged`` is False where there was nothing for us to say about the object.
    """

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_judged: bool = True

    @property
    def is_allowed(self) -> bool:
        """Return whether the object may be kept."""
        return not self.errors


_DECODER: Final = msgspec.json.Decoder(_Review)


def read_review(body: bytes) -> ReviewRequest:
    """Return what the AdmissionReview in ``body`` asks.

    Raises:
        MalformedReviewError: it is none of version v1, or lacks a field.
    """
    try:
        review = _DECODER.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise MalformedReviewError(f"not an AdmissionReview: {_plain(str(error))}") from error
    if (review.api_version, review.kind) != (API_VERSION, KIND):
        raise MalformedReviewError(f"not an AdmissionReview: only {KIND} of {API_VERSION} is read")
    uid = review.request.uid
    if not uid or len(uid) > _LONGEST_UID:
        raise MalformedReviewError("not an AdmissionReview: request.uid is empty or too long")
    return review.request


def answer(uid: str, verdict: Verdict) -> bytes:
    """Return the AdmissionReview that carries ``verdict``, within the bounds above."""
    response: dict[str, Any] = {"uid": uid, "allowed": verdict.is_allowed}
    if verdict.errors:
        response["status"] = {
            "status": "Failure",
            "code": _INVALID,
            "reason": "Invalid",
            "message": _message(verdict.errors),
        }
    if verdict.warnings:
        response["warnings"] = _warnings(verdict.warnings)
    review = {"apiVersion": API_VERSION, "kind": KIND, "response": response}
    return msgspec.json.encode(review)


def _message(errors: tuple[str, ...]) -> str:
    shown = "; ".join(_plain(error) for error in errors[:MOST_ERRORS])
    left = len(errors) - MOST_ERRORS
    more = f"; and {left} more" if left > 0 else ""
    return _cut(shown, LONGEST_MESSAGE - len(more)) + more


def _warnings(warnings: tuple[str, ...]) -> list[str]:
    if len(warnings) <= MOST_WARNINGS:
        return [_cut(_plain(each), LONGEST_WARNING) for each in warnings]
    shown = [_cut(_plain(each), LONGEST_WARNING) for each in warnings[: MOST_WARNINGS - 1]]
    return [*shown, f"and {len(warnings) - len(shown)} more warnings"]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _plain(text: str) -> str:
    """Return ``text`` in one line: the API server drops warnings with control characters."""
    return "".join(each if each.isprintable() else "?" for each in text)
