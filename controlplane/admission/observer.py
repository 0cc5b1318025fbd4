"""Who is told what became of reviews; the composition root counts it for users."""

from typing import Protocol


class AdmissionObserver(Protocol):
    """Is told of every review that is not a probe of ours."""

    def passed(self, group: str, kind: str) -> None:
        """Take note that an object of ``kind`` was judged and allowed."""
        ...

    def failed(self, group: str, kind: str, reason: str) -> None:
        """Take note that an object of ``kind`` was refused, for a ``reason`` in one word."""
        ...

    def http_error(self, status: int) -> None:
        """Take note that a request ended with the HTTP ``status`` instead of a verdict."""
        ...
