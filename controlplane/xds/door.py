"""How many new streams are let in: from one address, for one caller, in all.

Transport addresses and callers come in, a refusal or nothing goes out. Who is nobody yet pays from
what its address has, never from what everybody shares: made-up credentials lock their sender out
and nobody else. docs/protocol/discovery.md XDS-5, XDS-21.
"""

from typing import Final

from controlplane.authentication.addresses import address_of
from controlplane.authentication.caller import Caller
from controlplane.clock import Clock
from controlplane.xds.errors import (
    DiscoveryError,
    MalformedRequestError,
    TooManyStreamsError,
    UnauthenticatedError,
)
from controlplane.xds.rate import TokenBucket, TokenBuckets

REFUSAL_COSTS: Final = 10
"""What credentials that are refused cost the address they came from, in streams."""

STREAMS_AT_ONCE: Final = 50
"""Streams of one caller; it needs one, and one more when it comes back."""

_STREAMS_PER_SECOND: Final = 2.0


class Door:
    """Lets in ``rate`` streams per second and ``burst`` at once, and as many from any address.

    One address may take all there is: a thousand node proxies that come back from behind one are
    let in as fast as others would be.
    """

    def __init__(self, *, rate: float, burst: int, clock: Clock) -> None:
        self._all = TokenBucket(rate=rate, burst=burst, clock=clock)
        self._by_address = TokenBuckets[str](rate=rate, burst=burst, clock=clock)
        self._by_caller = TokenBuckets[tuple[str, ...]](
            rate=_STREAMS_PER_SECOND, burst=STREAMS_AT_ONCE, clock=clock
        )

    def knock(self, peer: str) -> None:
        """Count a stream from ``peer``, whoever that is.

        Raises:
            TooManyStreamsError: its address has opened too many.
        """
        if not self._by_address.take(address_of(peer)):
            raise TooManyStreamsError("too many new streams from one address, try again")

    def refused(self, peer: str, error: DiscoveryError) -> None:
        """Have the address of ``peer`` pay, where ``error`` says that its credentials are wrong."""
        if isinstance(error, UnauthenticatedError | MalformedRequestError):
            self._by_address.charge(address_of(peer), REFUSAL_COSTS)

    def enter(self, caller: Caller | None, peer: str) -> None:
        """Count a stream of ``caller``; None where nobody is asked who they are.

        Raises:
            TooManyStreamsError: it has opened too many, or all together have.
        """
        if caller is not None and not self._by_caller.take(_who(caller, peer)):
            raise TooManyStreamsError("too many new streams of one caller, try again")
        if not self._all.take():
            raise TooManyStreamsError("too many new streams, try again")


def _who(caller: Caller, peer: str) -> tuple[str, ...]:
    """Return the pod of a caller; where its credentials name none, its account at its address."""
    if caller.pod_uid:
        return (caller.cluster, caller.pod_uid)
    account = (caller.cluster, caller.namespace, caller.service_account)
    return (*account, caller.node_name, address_of(peer))
