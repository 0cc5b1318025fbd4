"""What waypoints write about requests and connections, as the mesh configuration says it.

``mesh.access_logs`` makes it, ``encode.access_log`` turns it into what an Envoy is sent.
docs/protocol/waypoint-config.md WC-60 to WC-64.
"""

from dataclasses import dataclass
from enum import StrEnum


class LogOutput(StrEnum):
    """Where lines go: a waypoint has no other file that it could write."""

    STDOUT = "/dev/stdout"
    STDERR = "/dev/stderr"
    NOWHERE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """How a waypoint logs; the default is that only what failed is told.

    ``text`` is the format of lines of text, with its line break, and ``json`` that of lines of
    JSON, as the text of an object; at most one of them is set, and without one the format is ours.
    ``is_json`` decides which of ours. Both formats are such that an Envoy takes them.
    """

    output: LogOutput = LogOutput.STDOUT
    only_failures: bool = True
    is_json: bool = False
    text: str = ""
    json: str = ""
