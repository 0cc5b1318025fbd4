"""What a node proxy tells of connections: one record each, named as in ztunnel's log."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from controlplane.lab.ztunnel.workload import Workload

_MOST_RECORDS: Final = 10_000

INBOUND: Final = "inbound"
OUTBOUND: Final = "outbound"


@dataclass(slots=True, kw_only=True)
class AccessRecord:
    """One connection, complete once ``duration`` (seconds) is set. "" is not known.

    ``error`` says why it was not carried, or what broke it. Addresses are ``host:port``.
    """

    direction: str
    source: str
    destination: str
    hbone: str = ""
    source_workload: str = ""
    source_namespace: str = ""
    source_identity: str = ""
    service: str = ""
    destination_workload: str = ""
    destination_namespace: str = ""
    destination_identity: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0
    duration: float | None = None
    error: str = ""

    def comes_from(self, workload: Workload | None) -> None:
        """Note whose connection it is."""
        if workload is not None:
            self.source_workload, self.source_namespace = workload.name, workload.namespace

    def goes_to(self, workload: Workload | None) -> None:
        """Note who is at the other end."""
        if workload is not None:
            self.destination_workload = workload.name
            self.destination_namespace = workload.namespace

    def fields(self) -> Iterator[tuple[str, str | int]]:
        """Yield the fields of the log line that are known, in ztunnel's order."""
        for key, value in (
            ("src.addr", self.source),
            ("src.workload", self.source_workload),
            ("src.namespace", self.source_namespace),
            ("src.identity", self.source_identity),
            ("dst.addr", self.destination),
            ("dst.hbone_addr", self.hbone),
            ("dst.service", self.service),
            ("dst.workload", self.destination_workload),
            ("dst.namespace", self.destination_namespace),
            ("dst.identity", self.destination_identity),
        ):
            if value:
                yield key, value
        yield "direction", self.direction
        yield "bytes_sent", self.bytes_sent
        yield "bytes_recv", self.bytes_received
        if self.duration is not None:
            yield "duration", f"{self.duration * 1000:.0f}ms"
        if self.error:
            yield "error", self.error

    @property
    def summary(self) -> str:
        """Return who reached what, as whom and how: what of the log line people look at first."""
        shown = ("src.identity", "dst.service", "dst.identity", "direction", "error")
        known = dict(self.fields())
        parts = [f"{key}={known[key]}" for key in shown if key in known]
        parts.append(f"bytes={self.bytes_sent}/{self.bytes_received}")
        return " ".join(parts)

    def __str__(self) -> str:
        written = " ".join(
            f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
            for key, value in self.fields()
        )
        return f"access\tconnection {'complete' if self.duration is not None else 'open'} {written}"


class AccessLog:
    """The records of one node, the oldest first; ``listener`` hears of each when it begins."""

    def __init__(self, listener: Callable[[AccessRecord], None] = lambda _: None) -> None:
        self.records: deque[AccessRecord] = deque(maxlen=_MOST_RECORDS)
        self._listener = listener

    def begin(self, record: AccessRecord) -> AccessRecord:
        """Note a connection that has begun."""
        self.records.append(record)
        self._listener(record)
        return record

    def complete(self, record: AccessRecord, seconds: float) -> None:
        """Note that a connection is over after ``seconds``."""
        record.duration = seconds
