"""Who is connected where, and how far commits have got: of this replica, and written for all.

In: the discovery server, the commit log and the database. Out: the tasks that write both every few
seconds, and the way to what other replicas wrote (docs/protocol/fleet.md FL-10 to FL-15, CT-16).
"""

from collections.abc import Coroutine
from typing import Any

from controlplane.app.mesh import Mesh
from controlplane.clock import Clock
from controlplane.settings import Settings
from controlplane.store.commits import CommitTable
from controlplane.store.connections import ConnectionTable
from controlplane.store.database import Database
from controlplane.xds.server import XdsServer


class FleetKeeping:
    """Keeps the fleet of one replica: in the commit log at once, in ``database`` a little later."""

    def __init__(
        self, database: Database, settings: Settings, clock: Clock, *, server: XdsServer, mesh: Mesh
    ) -> None:
        self.connections = ConnectionTable(database, clock, replica=settings.replica_id)
        self.commits = CommitTable(database, clock, replica=settings.replica_id)
        self._server = server
        self._mesh = mesh
        mesh.commits.follow(server.fleet.followers)
        server.fleet.follow(mesh.commits.behind_since)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run beside everything else, by name."""
        return {
            "fleet": self.connections.run(self._server.fleet.each),
            "commit records": self.commits.run(self._mesh.commits.recent),
        }
