"""Traces for an OpenTelemetry collector: finished spans come in, OTLP over HTTP goes out.

Nothing of OpenTelemetry is loaded before somebody asks for it: it is an extra of the package.
Spans are handed to a thread that encodes and sends few at a time, so that the event loop is never
held up for long; when the collector is away the oldest are dropped. They are sent as JSON, which
every collector takes: the library's own exporter brings protobuf modules of the same names as those
of Envoy's types, and of two installed over each other only one works.
"""

import asyncio
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import structlog

from controlplane.errors import IstiodLiteError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult

Attribute = str | bool | int | float | Sequence[str]

MOST_WAITING: Final = 2048
"""Spans that wait to be sent."""

AT_ONCE: Final = 64
"""Spans encoded and sent together."""

_SENT_EVERY: Final = 1000.0
_COLLECTOR_PATIENCE: Final = 5.0
_LAST_PATIENCE: Final = 1.0
_SAID_EVERY: Final = 60.0
_PATH: Final = "/v1/traces"
_INTERNAL: Final = 1

_log = structlog.get_logger()


class TracingUnavailableError(IstiodLiteError):
    """Traces are asked for and cannot be made; the sentence says what is missing."""

    code = "tracing-unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time, from its beginning to its end, and what it was made of.

    ``trouble`` says in words what went wrong; "" when nothing did.
    """

    name: str
    began_at: datetime
    ended_at: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    children: tuple["Span", ...] = ()
    trouble: str = ""


class Tracing:
    """Sends spans to the collector at ``endpoint``, the URL it takes OTLP at over HTTP.

    ``replica`` is this process among those of its name. What else an exporter can be told is read
    from the environment, as everywhere: headers, certificates, attributes of the resource.

    Raises:
        TracingUnavailableError: the extra ``tracing`` is not installed.
    """

    def __init__(self, endpoint: str, *, version: str, replica: str) -> None:
        self._provider, self._exporter = _opened(endpoint, version, replica)
        self._tracer = self._provider.get_tracer("istiod-lite", version)
        self._troubles = _Troubles(time.monotonic)
        _logger().addHandler(self._troubles)
        _logger().propagate = False

    def export(self, span: Span) -> None:
        """Send ``span``, the root of a trace, and everything below it, soon."""
        self._export(span, None)

    async def close(self, seconds: float = 3.0) -> None:
        """Send what waits, for ``seconds`` at most."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # A loop that ended without waiting has nobody to be told.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        # A thread of a pool would be waited for when the loop ends, however long that takes.
        threading.Thread(target=shut_down, name="end of tracing", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            _log.warning("tracing.unsent", seconds=seconds)
            self._exporter.shutdown()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _LAST_PATIENCE)
        _logger().removeHandler(self._troubles)

    def _export(self, span: Span, parent: Any) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        made = self._tracer.start_span(
            span.name,
            context=parent,
            attributes=dict(span.attributes),
            start_time=_nanoseconds(span.began_at),
        )
        if span.trouble:
            made.set_status(Status(StatusCode.ERROR, span.trouble))
        for child in span.children:
            self._export(child, set_span_in_context(made))
        made.end(end_time=_nanoseconds(span.ended_at))


class _Troubles(logging.Handler):
    """Turns what the exporter complains of into an event of ours, once a minute at most."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._monotonic = monotonic
        self._said_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Log ``record``."""
        now = self._monotonic()
        if now - self._said_at >= _SAID_EVERY:
            self._said_at = now
            _log.warning("tracing.troubled", reason=record.getMessage())


def _logger() -> logging.Logger:
    return logging.getLogger("opentelemetry")


def _opened(endpoint: str, version: str, replica: str) -> "tuple[TracerProvider, _Exporter]":
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailableError(
            f"traces are to be sent to {endpoint}, and what sends them is not installed: "
            "pip install 'istiod-lite[tracing]'"
        ) from error
    resource = Resource.create(
        {
            "service.name": "istiod-lite",
            "service.version": version,
            "service.instance.id": replica,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = _Exporter(endpoint.rstrip("/") + _PATH)
    # It has all that the processor calls; its base class would be loaded with this module.
    as_the_library_has_it: Any = exporter
    provider.add_span_processor(
        BatchSpanProcessor(
            as_the_library_has_it,
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=_SENT_EVERY,
            max_export_batch_size=AT_ONCE,
        )
    )
    return provider, exporter


class _Exporter:
    """Sends spans to ``url`` as OTLP in JSON; on a thread of the library's.

    Headers and the certificate to verify are read from the environment, by the names that
    OpenTelemetry gives them.
    """

    def __init__(self, url: str) -> None:
        import httpx

        self._url = url
        self._is_closed = False
        self._failures = httpx.HTTPError
        self._client = httpx.Client(
            headers=_headers(os.environ),
            verify=_verification(os.environ),
            timeout=_COLLECTOR_PATIENCE,
        )

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        """Send spans; what cannot be sent is told and lost."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._is_closed:
            return SpanExportResult.FAILURE
        body = json.dumps(_request(spans)).encode()
        try:
            answer = self._client.post(
                self._url, content=body, headers={"content-type": "application/json"}
            )
        except self._failures as error:
            _logger().warning("the collector cannot be reached: %s", error or type(error).__name__)
            return SpanExportResult.FAILURE
        if answer.is_success:
            return SpanExportResult.SUCCESS
        _logger().warning("the collector answers with status %d", answer.status_code)
        return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Do nothing: what is exported is sent."""
        return timeout_millis >= 0

    def shutdown(self) -> None:
        """Send nothing more."""
        self._is_closed = True
        self._client.close()


def _request(spans: "Sequence[ReadableSpan]") -> dict[str, Any]:
    """Return an ExportTraceServiceRequest in the JSON form of OTLP; all spans are of one tracer."""
    scope = spans[0].instrumentation_scope
    named = {} if scope is None else {"name": scope.name, "version": scope.version or ""}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(spans[0].resource.attributes)},
                "scopeSpans": [{"scope": named, "spans": [_span(span) for span in spans]}],
            }
        ]
    }


def _span(span: "ReadableSpan") -> dict[str, Any]:
    context = span.context
    told: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}" if context else "",
        "spanId": f"{context.span_id:016x}" if context else "",
        "name": span.name,
        "kind": _INTERNAL,
        # Numbers of 64 bits are texts in JSON.
        "startTimeUnixNano": str(span.start_time or 0),
        "endTimeUnixNano": str(span.end_time or 0),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value},
    }
    if span.status.description:
        told["status"]["message"] = span.status.description
    if span.parent is not None:
        told["parentSpanId"] = f"{span.parent.span_id:016x}"
    return told


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what ``key=value,key=value`` in the environment says, values percent-encoded."""
    name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    text = environment.get(name) or environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    pairs = (pair.partition("=") for pair in text.split(","))
    return {key.strip().lower(): unquote(value.strip()) for key, equals, value in pairs if equals}


def _verification(environment: Mapping[str, str]) -> ssl.SSLContext:
    name = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"
    path = environment.get(name) or environment.get("OTEL_EXPORTER_OTLP_CERTIFICATE")
    return ssl.create_default_context(cafile=path or None)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
