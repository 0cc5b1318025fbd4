"""What happens on streams, told to whoever counts, logs or traces it."""

from typing import Protocol

from controlplane.model.names import Name
from controlplane.xds.node import Node
from controlplane.xds.response import Response


class Observer(Protocol):
    """Heard synchronously, on the loop: be quick and do not raise."""

    def connected(self, client: int, node: Node) -> None:
        """Hear that a client has introduced itself; ``client`` numbers streams of a process."""
        ...

    def disconnected(self, client: int, reason: str) -> None:
        """Hear that a stream of an introduced client ended, and why, in words."""
        ...

    def refused(self, peer: str, reason: str) -> None:
        """Hear that a stream ended with an error."""
        ...

    def sent(self, client: int, response: Response) -> None:
        """Hear that a response was handed to the transport."""
        ...

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        """Hear that a response was accepted, this long after it was made."""
        ...

    def caught_up(self, client: int, type_url: str, after: int) -> None:
        """Hear that it accepted changes; before them it had everything up to commit ``after``."""
        ...

    def rejected(self, client: int, type_url: str, names: tuple[str, ...], message: str) -> None:
        """Hear that a client refused resources of a response."""
        ...

    def held(self, seconds: float, late: tuple[Name, ...]) -> None:
        """Hear that addresses waited for waypoints, and which of these were not ready in time."""
        ...


class SilentObserver:
    """Hears nothing."""

    def connected(self, client: int, node: Node) -> None:
        """Ignore it."""

    def disconnected(self, client: int, reason: str) -> None:
        """Ignore it."""

    def refused(self, peer: str, reason: str) -> None:
        """Ignore it."""

    def sent(self, client: int, response: Response) -> None:
        """Ignore it."""

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        """Ignore it."""

    def caught_up(self, client: int, type_url: str, after: int) -> None:
        """Ignore it."""

    def rejected(self, client: int, type_url: str, names: tuple[str, ...], message: str) -> None:
        """Ignore it."""

    def held(self, seconds: float, late: tuple[Name, ...]) -> None:
        """Ignore it."""
