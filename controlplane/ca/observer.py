"""What happens to requests for certificates, told to whoever counts and times it."""

from typing import Protocol

from controlplane.ca.errors import Reply


class Observer(Protocol):
    """Heard synchronously, on the loop: be quick and do not raise."""

    def requested(self) -> None:
        """Hear that a request came in."""
        ...

    def issued(self, seconds: float, key_type: str) -> None:
        """Hear that a certificate left, this long after its request came, and its key's type."""
        ...

    def signed(self, seconds: float) -> None:
        """Hear how long one signature took, the last look and any wait for a thread included."""
        ...

    def refused(self, reply: Reply) -> None:
        """Hear that a request failed, and how."""
        ...

    def names_differed(self) -> None:
        """Hear that a caller's own CSR named somebody else; it got its own identity."""
        ...

    def signer_ignored(self) -> None:
        """Hear that a particular signer was asked for; there is one."""
        ...

    def key_shared(self) -> None:
        """Hear that the key of an issued certificate was certified for another holder before."""
        ...


class SilentObserver:
    """Hears nothing."""

    def requested(self) -> None:
        """Ignore it."""

    def issued(self, seconds: float, key_type: str) -> None:
        """Ignore it."""

    def signed(self, seconds: float) -> None:
        """Ignore it."""

    def refused(self, reply: Reply) -> None:
        """Ignore it."""

    def names_differed(self) -> None:
        """Ignore it."""

    def signer_ignored(self) -> None:
        """Ignore it."""

    def key_shared(self) -> None:
        """Ignore it."""
