"""What a step of the story tells: what was done, what was sent, what traffic did."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that had to be so; ``result`` is what was seen in its place."""

    expected: str
    result: str
    met: bool


@dataclass(slots=True, kw_only=True)
class Told:
    """One step. ``skipped`` says why it could not be told, "" when it was.

    ``says`` is what there is to understand; ``manifest`` is what was applied, in short.
    """

    number: int
    title: str
    says: str = ""
    done: list[str] = field(default_factory=list)
    manifest: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Return whether everything was as it had to be; a skipped step has nothing to show."""
        return not self.skipped and bool(self.seen) and all(seen.met for seen in self.seen)

    def saw(self, expected: str, result: object, *, met: bool) -> None:
        """Note what was seen."""
        self.seen.append(Seen(expected=expected, result=str(result), met=met))
