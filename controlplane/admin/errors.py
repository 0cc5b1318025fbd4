"""What goes wrong with a question, in words for whoever asked.

AdminError
├── BadCursorError        ``after`` is nothing this list gave out
├── NotFoundError         there is no such thing, or it may not be seen
├── NotAllowedError       the viewer may not ask this at all
└── NotKnownHereError     this process has no such knowledge (no ledger, no commit log)
"""

from controlplane.errors import IstiodLiteError


class AdminError(IstiodLiteError):
    """Root of this package."""

    code = "admin"


class BadCursorError(AdminError):
    """``after`` is nothing this list gave out."""

    code = "bad-cursor"


class NotFoundError(AdminError):
    """There is no such thing, or the viewer may not know of it: both are told alike."""

    code = "not-found"


class NotAllowedError(AdminError):
    """The viewer may not ask this."""

    code = "not-allowed"


class NotKnownHereError(AdminError):
    """This process does not have what is asked for."""

    code = "not-known-here"
