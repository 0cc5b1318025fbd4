"""The ports of one process: who serves what where, opened together and closed in order."""

from typing import TYPE_CHECKING

from controlplane.admin.server import AdminServer
from controlplane.app.errors import StartupError
from controlplane.app.surroundings import LOOPBACK, at_port
from controlplane.settings import Settings
from controlplane.xds.errors import ListenError
from controlplane.xds.server import Listener, XdsServer
from controlplane.xds.settings import XdsSettings
from controlplane.xds.tls import HotCertificate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from controlplane.app.admin import AdminSide


def admin_servers(
    side: "AdminSide", settings: Settings, host: str, *, in_cluster: bool
) -> tuple[AdminServer, ...]:
    """Return the servers of the admin side, listening; in a cluster there is a second port.

    Raises:
        StartupError: a port is taken.
    """
    servers: list[AdminServer] = []
    wanted = [(settings.admin_port, side.application)]
    if in_cluster:
        wanted.append((settings.health_port, side.health))
    try:
        for port, application in wanted:
            servers.append(AdminServer(application(), host=host, port=port))
    except OSError as error:
        for server in servers:
            server.close()
        raise StartupError(f"cannot open port {port}: {error}") from error
    return tuple(servers)


async def open_discovery(
    server: XdsServer,
    handlers: "Sequence[grpc.GenericRpcHandler[bytes, bytes]]",
    certificate: HotCertificate,
    settings: Settings,
    host: str,
) -> tuple[int, int | None]:
    """Open discovery; return the port for TLS, and the plaintext one where it is wanted.

    Plaintext asks nobody who they are: only this machine is served, wherever the rest listens.

    Raises:
        StartupError: a port is taken.
    """
    listeners = [Listener(address=at_port(host, settings.xds_port), certificate=certificate)]
    if settings.plaintext:
        local = host if host == "::1" else LOOPBACK
        listeners.append(Listener(address=at_port(local, settings.plaintext_port)))
    try:
        ports = await server.start(listeners, handlers)
    except (ListenError, OSError) as error:
        raise StartupError(f"cannot open the ports: {error}") from error
    return ports[0], ports[1] if settings.plaintext else None


def xds_settings(settings: Settings) -> XdsSettings:
    """Return the part of the settings that the discovery server reads."""
    return XdsSettings(
        replica=settings.replica_id,
        scopes_policies_to_nodes=settings.authorization_scope == "node",
        acknowledgement_timeout=settings.acknowledgement_timeout,
        binding_wait=settings.waypoint_binding_wait,
        connection_age=settings.max_connection_age,
        new_streams_per_second=settings.max_new_streams_per_second,
    )
