"""The webhook as an ASGI application: bytes of a review in, a verdict or a precise refusal out.

Nobody is asked who is calling: the API server presents no certificate by default, and a verdict
says nothing that its caller did not say. So what strangers can cost is bounded: the size of a
request, how long one may take, and the share of the loop's time that judging gets
(docs/protocol/admission.md AD-1 to AD-4, AD-14).
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from controlplane.admission.errors import AdmissionError, MalformedReviewError
from controlplane.admission.judgement import JUDGED, Judge
from controlplane.admission.observer import AdmissionObserver
from controlplane.admission.review import ReviewRequest, Verdict, answer, read_review
from controlplane.clock import Clock

PROBE: Final = "probe"
"""Query parameter of reviews that the control plane asks itself; nobody is told of those."""

_INVALID: Final = "invalid_resource"
_TIMEOUT: Final = re.compile(r"([0-9]{1,4})s")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """``body`` is bytes of a request; ``seconds`` is how long one takes at most.

    ``share`` is the part of the loop's time that judging takes at most while requests wait;
    ``burst`` is for how many seconds without judging that is made up for.
    """

    body: int = 3 * 1024 * 1024
    seconds: float = 8.0
    share: float = 0.25
    burst: float = 2.0


class _RefusedRequestError(AdmissionError):
    """A request that ends with an HTTP ``status`` instead of a verdict."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admission:
    """Answers reviews. ``is_ready`` says whether the mesh they are judged against is loaded."""

    def __init__(
        self,
        judge: Judge,
        *,
        observer: AdmissionObserver,
        is_ready: Callable[[], bool],
        clock: Clock,
        limits: AdmissionLimits | None = None,
    ) -> None:
        self._judge = judge
        self._observer = observer
        self._is_ready = is_ready
        self._clock = clock
        self._limits = limits or AdmissionLimits()
        self._turn = asyncio.Lock()
        self._free_at = float("-inf")

    def application(self) -> FastAPI:
        """Return the application that serves ``/validate`` and ``/ready``."""
        application = FastAPI(title="admission", openapi_url=None, docs_url=None, redoc_url=None)
        application.post("/validate")(self._validate)
        application.get("/ready")(self._ready)
        return application

    async def _ready(self) -> Response:
        return Response(status_code=200 if self._is_ready() else 503)

    async def _validate(self, request: Request) -> Response:
        is_probe = PROBE in request.query_params
        try:
            async with asyncio.timeout(self._seconds(request)):
                review, verdict = await self._judged(await self._body(request))
        except _RefusedRequestError as error:
            return self._refused(error.status, str(error), is_probe=is_probe)
        except MalformedReviewError as error:
            return self._refused(400, str(error), is_probe=is_probe)
        except TimeoutError:
            return self._refused(503, "there was no time to judge it", is_probe=is_probe)
        except ClientDisconnect:
            return self._refused(400, "the request ended early", is_probe=is_probe)
        except Exception as error:  # noqa: BLE001 - a fault of ours is for the log, not the caller
            _log.error("admission.failed", error=repr(error))
            return self._refused(500, "a fault of the control plane", is_probe=is_probe)
        if not is_probe:
            self._tell(review, verdict)
        return Response(answer(review.uid, verdict), media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        if not self._is_ready():
            raise _RefusedRequestError(503, "the mesh is not loaded yet")
        most = self._limits.body
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _RefusedRequestError(413, f"larger than {most} bytes")
        return bytes(body)

    async def _judged(self, body: bytes) -> tuple[ReviewRequest, Verdict]:
        """Judge in turn, and no more often than our share of the loop's time allows."""
        async with self._turn:
            pause = self._free_at - self._clock.monotonic()
            if pause > 0:
                await self._clock.sleep(pause)
            began = self._clock.monotonic()
            try:
                review = read_review(body)
                return review, self._judge.judge(review)
            except RecursionError as error:
                raise MalformedReviewError("the object is nested too deeply") from error
            finally:
                taken = self._clock.monotonic() - began
                paid_until = max(self._free_at, began - self._limits.burst)
                self._free_at = paid_until + taken / self._limits.share

    def _seconds(self, request: Request) -> float:
        """Return how long there is: the API server says how long it waits, and gives up then."""
        told = _TIMEOUT.fullmatch(request.query_params.get("timeout", ""))
        most = self._limits.seconds
        return most if told is None else min(most, int(told[1]) * 0.8)

    def _tell(self, review: ReviewRequest, verdict: Verdict) -> None:
        if not verdict.is_judged:
            return
        group, kind = review.kind.group, review.kind.kind
        resource = JUDGED[group, kind]
        if verdict.is_allowed:
            self._observer.passed(group, resource)
        else:
            self._observer.failed(group, resource, _INVALID)
            _log.info(
                "admission.refused",
                object=f"{kind} {review.namespace or ''}/{review.name or ''}",
                reason=verdict.errors[0],
            )

    def _refused(self, status: int, message: str, *, is_probe: bool) -> Response:
        if not is_probe:
            self._observer.http_error(status)
        # What is left of a request nobody reads on stays on the connection.
        headers = {"connection": "close"} if status in {413, 503} else {}
        return JSONResponse({"message": message}, status_code=status, headers=headers)
