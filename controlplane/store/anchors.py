"""Heads of the ledger, kept where whoever can write the database cannot reach.

In: after every write to the ledger, where its chain stands and the heads of its closed segments.
Out: what verification compares the database with: without an anchor a tail that was cut off leaves
no trace. Files in the data folder now; anything that keeps one small text per replica will do.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

from controlplane.store.chain import Head, LedgerKey
from controlplane.store.errors import AnchorError

_FOLDER: Final = "ledger-heads"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHead:
    """The end of one closed segment, ``first`` to ``last`` being its rows."""

    number: int
    first: int
    last: int
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where one replica's chain stands, and its closed segments that are still kept."""

    replica_id: str
    head: Head
    segments: tuple[SegmentHead, ...] = ()


class Anchors(Protocol):
    """A place for anchors. All methods may block and are called from a thread."""

    def read(self) -> Mapping[str, Anchor]:
        """Return every anchor by replica; AnchorError for one that is not genuine."""
        ...

    def write(self, anchor: Anchor) -> None:
        """Replace the anchor of its replica; OSError or AnchorError where that fails."""
        ...


class FileAnchors:
    """One signed file per replica in ``data_dir``, readable by its owner only."""

    def __init__(self, data_dir: Path, key: LedgerKey) -> None:
        self._folder = data_dir / _FOLDER
        self._key = key

    def read(self) -> Mapping[str, Anchor]:
        """Return every anchor by replica.

        Raises:
            AnchorError: a file is damaged or not signed by our key; the text names it.
        """
        anchors = {}
        for path in sorted(self._folder.glob("*.json")):
            anchor = self._read(path)
            anchors[anchor.replica_id] = anchor
        return anchors

    def write(self, anchor: Anchor) -> None:
        """Replace the file of the anchor's replica: afterwards it is the old or the new one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = asdict(anchor)
        text = json.dumps({"anchor": document, "signature": self._key.code("anchor", document)})
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, suffix=".new")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path(anchor.replica_id))
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise

    def _path(self, replica_id: str) -> Path:
        return self._folder / f"{sha256(replica_id.encode()).hexdigest()[:32]}.json"

    def _read(self, path: Path) -> Anchor:
        try:
            stored: Any = json.loads(path.read_text())
            document, signature = stored["anchor"], stored["signature"]
            genuine = self._key.made(signature, "anchor", document)
            anchor = Anchor(
                replica_id=document["replica_id"],
                head=Head(**document["head"]),
                segments=tuple(SegmentHead(**each) for each in document["segments"]),
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise AnchorError(f"{path} cannot be read as heads of the ledger") from error
        if not genuine or path != self._path(anchor.replica_id):
            raise AnchorError(f"{path} is not signed with the ledger's key")
        return anchor
