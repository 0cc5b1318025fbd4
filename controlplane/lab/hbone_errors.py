"""What HBONE connections may raise.

LabError
└── HboneError
    ├── HandshakeError
    ├── ConnectRefusedError
    ├── StreamResetError
    └── ConnectionEndedError
        └── NotHandledError
"""

from controlplane.lab.errors import LabError


class HboneError(LabError):
    """Something about an HBONE connection or one of its streams went wrong."""

    code = "hbone"


class HandshakeError(HboneError):
    """No connection came about: nobody listens, a side is not whom the other wants, bad TLS."""

    code = "hbone-handshake"


class ConnectRefusedError(HboneError):
    """The answer to a CONNECT was another status than 200; ``status`` is that number."""

    code = "hbone-connect-refused"

    def __init__(self, authority: str, status: int) -> None:
        super().__init__(f"CONNECT {authority} was answered {status}")
        self.status = status


class StreamResetError(HboneError):
    """The stream was reset; ``error_code`` is the number of RFC 9113, section 7."""

    code = "hbone-stream-reset"

    def __init__(self, error_code: int) -> None:
        super().__init__(f"the stream was reset with code {error_code}")
        self.error_code = error_code


class ConnectionEndedError(HboneError):
    """The connection below the stream is gone."""

    code = "hbone-connection-ended"


class NotHandledError(ConnectionEndedError):
    """The peer never looked at the stream: asking again, on another connection, is safe."""

    code = "hbone-not-handled"
