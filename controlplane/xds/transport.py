"""What a stream needs of a connection; ``server`` fills it with gRPC, tests with lists."""

from typing import Protocol

from controlplane.authentication.caller import Metadata


class Transport(Protocol):
    """One bidirectional stream of messages. ``metadata`` are its request headers, lower case.

    ``is_encrypted`` is false on plaintext ports, which only this machine reaches.
    """

    peer: str
    metadata: Metadata
    is_encrypted: bool

    async def send(self, message: bytes) -> None:
        """Send one response; return when the connection has taken it (back-pressure)."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next request; None when the client has sent its last."""
        ...
