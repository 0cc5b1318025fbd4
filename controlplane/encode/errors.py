"""What encoding refuses to put on the wire."""

from controlplane.errors import IstiodLiteError


class EncodeError(IstiodLiteError):
    """A value that a node proxy would reject (docs/protocol/messages.md).

    ``name`` is the resource it would have been, ``reason`` what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!a}: {reason}")
        self.name = name
        self.reason = reason
