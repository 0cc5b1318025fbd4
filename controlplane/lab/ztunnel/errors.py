"""What can go wrong in the reference ztunnel, apart from a rejected connection."""

from enum import Enum

from controlplane.errors import IstiodLiteError


class RejectReason(Enum):
    """Why one resource of a response is refused (docs/protocol/ztunnel.md ZT-10 to ZT-18)."""

    MISSING_RESOURCE = "missing resource"
    UNDECODABLE = "message cannot be decoded"
    MISSING_KIND = "neither a workload nor a service"
    ADDRESS_LENGTH = "address is neither 4 nor 16 bytes"
    MISSING_DESTINATION = "gateway without a destination"
    SERVICE_KEY = "service key without a slash"
    UNKNOWN_VALUE = "unknown value"
    PREFIX_LENGTH = "prefix longer than the address"


class ZtunnelError(IstiodLiteError):
    """Root of the reference ztunnel's errors."""

    code = "ztunnel"


class RejectedResourceError(ZtunnelError):
    """One resource of a response cannot be used; the others still can."""

    code = "ztunnel_rejected_resource"

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        """Take the reason and, where one helps, the field or value it is about."""
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.value} ({detail})" if detail else reason.value)


class UndecodableResponseError(ZtunnelError):
    """The bytes of a response are no DeltaDiscoveryResponse: the stream is broken."""

    code = "ztunnel_undecodable_response"


class WaitTimedOutError(ZtunnelError):
    """The awaited condition did not come true in time."""

    code = "ztunnel_wait_timed_out"
