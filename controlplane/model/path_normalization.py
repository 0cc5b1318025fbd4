"""How paths of requests are rewritten before they are judged and sent on.

The mesh configuration says it, ``encode.filter_chain`` tells Envoy.
docs/protocol/http-policies.md HP-30.
"""

from enum import StrEnum


class PathNormalization(StrEnum):
    """By the names of the mesh configuration; each does what those before it do, too."""

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"
