"""Why a text yields no documents at all.

    IstiodLiteError
      UnreadableTextError      the text is not YAML or JSON, or exceeds a limit

One bad object in a readable text is never an exception: it is a ``Problem``.
"""

from controlplane.errors import IstiodLiteError


class UnreadableTextError(IstiodLiteError):
    """The whole text is refused; ``line`` is 1-based, None when no line is to blame."""

    def __init__(self, code: str, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.line = line
