"""What a stream needs of a connection; ``server`` fills it with gRPC, tests with lists."""

from collections.abc import Mapping
from typing import Protocol


class Transport(Protocol):
    """One bidirectional stream of messages. ``metadata`` are its request headers, lower case."""

    peer: str
    metadata: Mapping[str, str]

    async def send(self, message: bytes) -> None:
        """Send one response; return when the connection has taken it (back-pressure)."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next request; None when the client has sent its last."""
        ...
