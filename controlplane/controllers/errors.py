"""What goes wrong inside a controller; the caller makes a Problem or an outcome of it."""

from controlplane.cluster.apply import Applied
from controlplane.errors import IstiodLiteError


class OverlayError(IstiodLiteError):
    """An overlay cannot be laid over an object; ``field`` is the path of what is wrong in it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class UnlistedError(IstiodLiteError):
    """A kind could not be listed as a whole; ``applied`` is what came of trying."""

    def __init__(self, applied: Applied) -> None:
        super().__init__(applied.message)
        self.applied = applied
