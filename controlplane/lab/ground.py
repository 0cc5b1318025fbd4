"""Which addresses of loopback a lab has for itself: nothing comes in, two ranges go out.

Pods of two labs on one machine must not meet, and equal manifests have equal addresses within
their range. So each lab claims a range of its own for as long as it runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_INET, SOCK_STREAM, socket
from typing import Final

from controlplane.lab.errors import LabError

_FIRST_OF_PODS: Final = 64
_FIRST_OF_APPLICATIONS: Final = 1
_MOST: Final = 32
_CLAIM_PORT: Final = 15999
"""A port that nothing in a mesh listens on; whoever has it on a range has the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The range of pods' addresses, and the first two numbers of those of applications."""

    pods: str
    applications: str


@contextmanager
def claimed_ground(*, most: int = _MOST) -> Iterator[Ground]:
    """Claim the first free range until the block ends, or the process does.

    Args:
        most: how many labs there may be at a time.

    Raises:
        LabError: so many run already, or the machine has no such addresses.
    """
    failure: OSError | None = None
    for number in range(most):
        with socket(AF_INET, SOCK_STREAM) as claim:
            pods = f"127.{_FIRST_OF_PODS + number}"
            try:
                claim.bind((f"{pods}.255.254", _CLAIM_PORT))
                claim.listen(1)
            except OSError as error:
                failure = error
                continue
            applications = f"127.{_FIRST_OF_APPLICATIONS + number}"
            yield Ground(pods=f"{pods}.0.0/16", applications=applications)
            return
    raise LabError(
        f"no range of loopback from 127.{_FIRST_OF_PODS}.0.0/16 to "
        f"127.{_FIRST_OF_PODS + most - 1}.0.0/16 is free for pods: {failure}"
    )
