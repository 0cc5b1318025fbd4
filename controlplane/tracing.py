"""Traces for an OpenTelemetry collector: finished spans come in, OTLP over HTTP goes out.

Nothing of OpenTelemetry is loaded before somebody asks for it: it is an extra of the package.
Spans are handed to a thread that encodes and sends few at a time, so that the event loop is never
held up for long; when the collector is away the oldest are dropped.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from controlplane.errors import IstiodLiteError

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider

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
            # It would be tried again for a while.
            self._exporter.shutdown()  # type: ignore[no-untyped-call] # the library leaves it so
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


def _opened(endpoint: str, version: str, replica: str) -> "tuple[TracerProvider, OTLPSpanExporter]":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
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
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH, timeout=_COLLECTOR_PATIENCE)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=_SENT_EVERY,
            max_export_batch_size=AT_ONCE,
        )
    )
    return provider, exporter


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
