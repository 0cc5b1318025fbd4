"""Who may act: one replica leads at a time, and proves it with a fencing token.

In: whatever elects (a row of the store, a Lease of a cluster). Out: a token that grows with every
change of leader; whoever writes on behalf of the leader sends it along, so that a leader who was
paused and came back is refused.
"""

from typing import Protocol


class Leadership(Protocol):
    """One replica's standing in one election."""

    @property
    def is_leader(self) -> bool:
        """Tell whether this replica leads now. False as soon as it may have been overtaken."""
        ...

    @property
    def token(self) -> int | None:
        """Return the fencing token while this replica leads, else None."""
        ...

    async def run(self) -> None:
        """Campaign until cancelled; give up the lead on the way out."""
        ...

    async def changed(self) -> None:
        """Wait until this replica has gained or lost the lead."""
        ...
