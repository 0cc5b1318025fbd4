"""An authority whose files are somebody else's: a reader of files in, a ``SignerSource`` out.

We sign with it and leave its rotation to its owner. Files are looked at again and again: a new
intermediate below the same roots is taken up while we run, other roots are not, and whatever is
wrong with new files, what was in force stays (docs/protocol/plugged.md PL-16 to PL-23).
"""

import asyncio
from collections.abc import Hashable
from typing import Final, Protocol

import structlog

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given import Given, given_in
from controlplane.ca.given_files import GivenFiles
from controlplane.ca.signer import SignerSnapshot
from controlplane.clock import Clock

_log = structlog.get_logger()
_ATTEMPTS: Final = 3


class FilesReader(Protocol):
    """Where the files are. ``stamp`` is cheap: while it is the same, nothing was written."""

    @property
    def place(self) -> str:
        """The folder or file, for people."""
        ...

    def stamp(self) -> Hashable:
        """Return what changes with every write; never raises."""
        ...

    def read(self) -> GivenFiles:
        """Return the files.

        Raises:
            GivenAuthorityError: they are missing or unreadable; the text names them.
        """
        ...


class GivenAuthority:
    """Signs with an authority that is given. Implements ``SignerSource``.

    ``accepts_more_roots`` lets the roots change while we run, as long as one of the old and new
    sets contains the other; ``poll`` is the seconds between two looks.

    Raises:
        GivenAuthorityError: what is there cannot be used. Later faults leave it in force.
    """

    def __init__(
        self,
        reader: FilesReader,
        *,
        trust_domain: str,
        clock: Clock,
        accepts_more_roots: bool = False,
        poll: float = 5.0,
    ) -> None:
        self._reader = reader
        self._trust_domain = trust_domain
        self._clock = clock
        self._accepts_more_roots = accepts_more_roots
        self._poll = poll
        self._problem = ""
        stamp, files = _read_whole(reader)
        self._given = self._load(files, 1)
        self._digest = files.digest
        self._stamp: Hashable = stamp
        # Two writes within one tick of the file system's clock have one stamp. Files are read
        # once more at the look after they changed, and only then is their stamp believed.
        self._is_settled = False

    def current(self) -> SignerSnapshot | None:
        """Return what signs; None once it has ended."""
        snapshot = self._given.snapshot
        return None if snapshot.not_after <= self._clock.now() else snapshot

    def unfit_reason(self) -> str:
        """Return why ``current`` returns None."""
        reason = f"the authority in {self._reader.place} has expired"
        return f"{reason}, and what is there now is refused" if self._problem else reason

    @property
    def problem(self) -> str:
        """What keeps the present files from being used; "" when they are."""
        return self._problem

    async def run(self) -> None:
        """Take up new files until cancelled."""
        while True:
            await self._clock.sleep(self._poll)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take up the files if they changed and are whole; else what is in force stays."""
        problem = ""
        try:
            self._look()
        except GivenAuthorityError as error:
            problem = str(error)
            if problem != self._problem:
                _log.warning("authorities.files-refused", reason=problem)
        self._problem = problem

    def _look(self) -> None:
        stamp = self._reader.stamp()
        if self._is_settled and stamp == self._stamp:
            return
        stamp, files = _read_whole(self._reader)
        digest = files.digest
        if digest != self._digest:
            self._take_up(files)
            self._digest = digest
        self._is_settled = stamp == self._stamp
        self._stamp = stamp

    def _take_up(self, files: GivenFiles) -> None:
        old = self._given
        new = self._load(files, old.snapshot.generation + 1)
        self._require_known_roots(old, new, files)
        if _signs_alike(old, new):
            return
        self._given = new
        _log.info(
            "authorities.files-loaded",
            authority=new.snapshot.authority_id[:8],
            not_after=new.snapshot.not_after.isoformat(),
        )

    def _require_known_roots(self, old: Given, new: Given, files: GivenFiles) -> None:
        if old.roots == new.roots:
            return
        where = files.named(files.roots)
        if not self._accepts_more_roots:
            raise GivenAuthorityError(
                f"{where} holds other roots than those in force: start anew to use them, once "
                "everybody trusts both"
            )
        if not (old.roots <= new.roots or new.roots <= old.roots):
            raise GivenAuthorityError(
                f"{where} adds and removes roots at once: add first, remove when nobody needs "
                "them any more"
            )
        if not {old.root, new.root} <= old.roots & new.roots:
            raise GivenAuthorityError(
                f"{where} changes together with the root that signs: peers that know only the "
                "old roots would refuse the new certificates, or the other way round"
            )

    def _load(self, files: GivenFiles, generation: int) -> Given:
        return given_in(
            files,
            trust_domain=self._trust_domain,
            generation=generation,
            now=self._clock.now(),
        )


def _read_whole(reader: FilesReader) -> tuple[Hashable, GivenFiles]:
    """Return the files and their stamp, read while nobody wrote."""
    for _ in range(_ATTEMPTS):
        stamp = reader.stamp()
        files = reader.read()
        if reader.stamp() == stamp:
            return stamp, files
    raise GivenAuthorityError(f"the files in {reader.place} change while they are read")


def _signs_alike(old: Given, new: Given) -> bool:
    """Return whether only comments or the like have changed."""
    return (
        old.snapshot.certificate == new.snapshot.certificate
        and old.snapshot.chain == new.snapshot.chain
        and old.snapshot.bundle == new.snapshot.bundle
        and old.root == new.root
    )
