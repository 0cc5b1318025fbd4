"""What goes wrong with a question, in words for whoever asked.

AdminError
├── BadCursorError        ``after`` is nothing this list gave out
├── BadQuestionError      a parameter is missing or makes no sense
├── NotFoundError         there is no such thing, or it may not be seen
├── NotAllowedError       the viewer may not ask this at all
├── NotKnownHereError     this process has no such knowledge (no ledger, no commit log)
├── TooManyWaitingError   too many wait already
├── EndingError           this process ends, and nobody is waited for any more
└── RefusedError          a request that is not let in; says with which status
"""

from collections.abc import Mapping

from controlplane.errors import IstiodLiteError


class AdminError(IstiodLiteError):
    """Root of this package."""

    code = "admin"


class BadCursorError(AdminError):
    """``after`` is nothing this list gave out."""

    code = "bad-cursor"


class BadQuestionError(AdminError):
    """A parameter is missing or makes no sense."""

    code = "bad-question"


class NotFoundError(AdminError):
    """There is no such thing, or the viewer may not know of it: both are told alike."""

    code = "not-found"


class NotAllowedError(AdminError):
    """The viewer may not ask this."""

    code = "not-allowed"


class NotKnownHereError(AdminError):
    """This process does not have what is asked for."""

    code = "not-known-here"


class TooManyWaitingError(AdminError):
    """More wait for commits than is let in."""

    code = "too-many-waiting"


class EndingError(AdminError):
    """This process ends: whoever waits has to ask another, or again."""

    code = "ending"


class RefusedError(AdminError):
    """A request is not let in. ``status`` and ``headers`` are those of the answer."""

    code = "refused"

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
