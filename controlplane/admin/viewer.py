"""The viewer: on whose behalf something is looked at, and so what may be seen.

Every question to ``MeshView`` takes one, and there is none that sees everything unless somebody
said so: a question without a viewer cannot be asked (docs/protocol/admin.md AM-n).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks: ``namespace`` is None for those who see the whole mesh."""

    name: str
    namespace: str | None

    @property
    def sees_all(self) -> bool:
        """Return whether nothing is hidden from this viewer."""
        return self.namespace is None

    def may_see(self, namespace: str) -> bool:
        """Return whether things of ``namespace`` may be seen; "" is the cluster as a whole."""
        return self.namespace is None or (bool(namespace) and namespace == self.namespace)

    def narrowed(self, wanted: str) -> str | None:
        """Return the only namespace to look at, None for all of them.

        ``wanted`` is what was asked for, "" for anything. The result is a namespace of the
        viewer's: asking for another one comes to "", in which nothing is.
        """
        if self.namespace is None:
            return wanted or None
        return self.namespace if wanted in ("", self.namespace) else ""


EVERYTHING: Final = Viewer(name="this machine", namespace=None)
"""Whoever is trusted without being asked."""
