"""The key sets of token issuers: which the mesh needs comes in, what they are goes into its graph.

Every replica fetches for itself; what waypoints are sent is made of what was found alone, so that
replicas that found the same send the same. docs/protocol/request-authentication.md RA-24 to RA-28.
"""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from controlplane.app.errors import StartupError
from controlplane.app.mesh import Mesh
from controlplane.authentication.errors import KeySetError
from controlplane.clock import Clock
from controlplane.dataflow import Change
from controlplane.metrics import MeshMetrics
from controlplane.model.token_rule import FetchedKeySet, KeySetRequest
from controlplane.settings import Settings
from controlplane.sources.key_sets.download import Downloads, DownloadSettings
from controlplane.sources.key_sets.keeping import KeepingSettings, KeySets

_PATIENCE: Final = 10.0
"""Seconds that clients wait for keys when we start."""


class KeyFetching:
    """Fetches what ``mesh`` needs, while its tasks run.

    Raises:
        StartupError: the file of further roots cannot be used.
    """

    def __init__(self, mesh: Mesh, settings: Settings, clock: Clock, metrics: MeshMetrics) -> None:
        self._batcher = mesh.batcher
        self._fetched = mesh.pipeline.inputs.key_sets
        self._needed = mesh.pipeline.world.token_rules.needed
        self._clock = clock
        self._metrics = metrics
        self._since: float | None = None
        self._is_begun = False
        try:
            downloads = Downloads(
                DownloadSettings(
                    reaches_near=settings.key_sets_on_this_machine, roots=settings.key_set_roots
                )
            )
        except KeySetError as error:
            raise StartupError(f"no keys of token issuers can be fetched: {error}") from error
        self._key_sets = KeySets(
            downloads,
            clock,
            KeepingSettings(refresh=settings.key_set_refresh, lifetime=settings.key_set_lifetime),
            found=self._found,
            tried=self._tried,
        )
        self._needed.subscribe(self._needs_changed)

    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Return what has to run."""
        return {"key sets": self._key_sets.run()}

    def why_awaited(self) -> str | None:
        """Return why keys are waited for, once, when everything else is known; None when not.

        Waypoints that come back to a new process would be told to refuse every token for the
        moment it takes to ask an issuer.
        """
        if self._is_begun:
            return None
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        missing = sum(self._fetched.get(uri) is None for uri, _ in self._needed.items())
        if missing and now - self._since < _PATIENCE:
            return f"keys of token issuers have not been asked for yet: {missing}"
        self._is_begun = True
        return None

    def _needs_changed(self, changes: Sequence[Change[str, KeySetRequest]]) -> None:
        for uri, _, request in changes:
            if request is None:
                self._key_sets.forget(uri)
                self._batcher.remove(self._fetched, uri)
            else:
                self._key_sets.want(request)

    def _found(self, keys: FetchedKeySet) -> None:
        self._batcher.put(self._fetched, keys)

    def _tried(self, is_good: bool) -> None:  # noqa: FBT001 - what is heard of one try
        (self._metrics.key_sets_fetched if is_good else self._metrics.key_sets_failed).inc()
