"""Who is told what became of reviews; the composition root counts it for users.

Groups, resources and reasons are a handful of words of ours, whatever strangers send.
"""

from typing import Protocol


class AdmissionObserver(Protocol):
    """Is told of every review that is not a probe of ours."""

    def passed(self, group: str, resource: str, /) -> None:
        """Take note that an object of ``resource`` (its plural) was judged and allowed."""
        ...

    def failed(self, group: str, resource: str, reason: str, /) -> None:
        """Take note that an object of ``resource`` was refused, for a ``reason`` in one word."""
        ...

    def http_error(self, status: int) -> None:
        """Take note that a request ended with the HTTP ``status`` instead of a verdict."""
        ...
