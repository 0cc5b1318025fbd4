"""What ends a stream with an error, and the gRPC status each of them becomes.

DiscoveryError
├── MalformedRequestError     INVALID_ARGUMENT
├── UnauthenticatedError      UNAUTHENTICATED
├── ForbiddenError            PERMISSION_DENIED
├── TooManyStreamsError       RESOURCE_EXHAUSTED
├── NotServingError           UNAVAILABLE
├── UnimplementedError        UNIMPLEMENTED
└── ListenError               not on a stream: a port cannot be served
"""

from controlplane.errors import IstiodLiteError


class DiscoveryError(IstiodLiteError):
    """Root of this package. ``status`` names the gRPC status a stream ends with.

    ``detail`` is what operators are told and the client is not.
    """

    code = "discovery"
    status = "INTERNAL"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class MalformedRequestError(DiscoveryError):
    """The client sent what the protocol does not allow."""

    code = "malformed-request"
    status = "INVALID_ARGUMENT"


class UnauthenticatedError(DiscoveryError):
    """Who is calling cannot be told."""

    code = "unauthenticated"
    status = "UNAUTHENTICATED"


class ForbiddenError(DiscoveryError):
    """The caller is somebody else than the node it speaks for."""

    code = "authorization-failed"
    status = "PERMISSION_DENIED"


class TooManyStreamsError(DiscoveryError):
    """New streams arrive faster than they are let in."""

    code = "too-many-streams"
    status = "RESOURCE_EXHAUSTED"


class NotServingError(DiscoveryError):
    """The mesh is not loaded yet, or this process is on its way out."""

    code = "not-serving"
    status = "UNAVAILABLE"


class UnimplementedError(DiscoveryError):
    """A way of asking that this process does not serve."""

    code = "unimplemented"
    status = "UNIMPLEMENTED"


class ListenError(DiscoveryError):
    """A port cannot be opened, or must not be."""

    code = "listen"
