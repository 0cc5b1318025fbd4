"""Whether a process serves, as people and programs read it."""

from pydantic import BaseModel


class Readiness(BaseModel):
    """Whether the process serves, what it waits for when it does not, and what is to be known."""

    ready: bool
    waiting_for: list[str]
    details: list[str]

    def text(self) -> str:
        """Return it for people, a line for each sentence."""
        lines = ["ready" if self.ready else "not ready"]
        lines += [f"waiting: {sentence}" for sentence in self.waiting_for]
        lines += self.details
        return "\n".join(lines) + "\n"


def wants_json(accept: str) -> bool:
    """Return whether a request with this ``Accept`` header asks for JSON by name."""
    named = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return "application/json" in named
