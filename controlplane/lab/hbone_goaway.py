"""Takes GOAWAY out of what a server sends: bytes come in, the other frames go on to h2.

For h2 a connection is over with the first GOAWAY. A server that drains says GOAWAY and goes on
serving the streams it has (RFC 9113, section 6.8), which is what long-lived tunnels depend on.
"""

from dataclasses import dataclass
from typing import Final

from hyperframe.frame import Frame, GoAwayFrame

from controlplane.lab.hbone_errors import ConnectionEndedError

_HEADER: Final = 9
_LONGEST: Final = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """What the server said: streams above ``last_stream`` were not and will not be handled."""

    last_stream: int
    error_code: int


class GoAwayFilter:
    """One direction of one connection; keeps at most one incomplete frame."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> tuple[bytes, list[GoAway]]:
        """Return the complete frames but for GOAWAY, and what those said.

        Raises:
            ConnectionEndedError: a frame is longer than we ever allowed.
        """
        view = memoryview(self._kept + data)
        others, said, start, position = [], [], 0, 0
        while len(view) - position >= _HEADER:
            frame, length = Frame.parse_frame_header(view[position : position + _HEADER])
            if length > _LONGEST:
                raise ConnectionEndedError("the peer sends frames that are too long")
            end = position + _HEADER + length
            if end > len(view):
                break
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(view[position + _HEADER : end])
                said.append(GoAway(last_stream=frame.last_stream_id, error_code=frame.error_code))
                others.append(bytes(view[start:position]))
                start = end
            position = end
        others.append(bytes(view[start:position]))
        self._kept = bytes(view[position:])
        return b"".join(others), said
