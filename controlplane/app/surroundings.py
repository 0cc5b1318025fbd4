"""Where the process runs: settings in; a cluster or none, and whom its ports listen to, out.

A kubeconfig that merely lies in the home directory is nobody's wish: a control plane that finds
it would write to whatever cluster it names (docs/protocol/replicas.md RP-1 to RP-4).
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Final

from controlplane.app.errors import StartupError
from controlplane.cluster.api_server import ClusterLocation
from controlplane.settings import Settings
from controlplane.store.database import database_url
from controlplane.store.errors import DatabaseUrlError

LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = "::"
_EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 - in a cluster clients come from other machines


def chosen_cluster(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> ClusterLocation | None:
    """Return the cluster to run in; None to serve a folder.

    Raises:
        StartupError: the settings ask for both, or for a cluster that is not there.
    """
    location = ClusterLocation(kubeconfig=settings.kubeconfig, context=settings.context)
    is_named = settings.kubeconfig is not None or settings.context is not None
    if "files" in settings.model_fields_set and (is_named or settings.cluster == "required"):
        raise StartupError(
            "objects come from a folder or from a cluster: name one of them, not both"
        )
    if settings.cluster == "none":
        if is_named:
            raise StartupError("a kubeconfig is given, and the setting cluster says none")
        return None
    if settings.cluster == "auto":
        is_wanted = is_named or location.is_in_pod or bool(environment.get("KUBECONFIG"))
        if "files" in settings.model_fields_set or not is_wanted:
            return None
    if not location.is_found:
        names = " or ".join(str(path) for path in location.files())
        raise StartupError(f"no cluster is found: this is no pod of one, and there is no {names}")
    return location


def require_possible(settings: Settings, *, in_cluster: bool) -> None:
    """Return where the settings can be served together.

    Raises:
        StartupError: they cannot; the sentence says which to change.
    """
    try:
        url = database_url(settings.database_url, data_dir=settings.data_dir)
    except DatabaseUrlError as error:
        raise StartupError(str(error)) from error
    if settings.replicas > 1 and url.get_backend_name() == "sqlite":
        raise StartupError(
            f"{settings.replicas} replicas cannot share a SQLite database: set "
            "ISTIOD_LITE_DATABASE_URL to a postgresql:// URL, or ISTIOD_LITE_REPLICAS to 1"
        )
    if in_cluster and settings.key_passphrase_file is not None:
        raise StartupError(
            "in a cluster keys are kept in a Secret, which no passphrase protects: unset "
            "ISTIOD_LITE_KEY_PASSPHRASE_FILE"
        )


def listening_host(settings: Settings, *, in_cluster: bool) -> str:
    """Return the address that ports listen on.

    Raises:
        StartupError: it is no address, or one that others reach without a cluster around us.
    """
    host = settings.bind_address
    if host is None:
        return _every_address() if in_cluster else LOOPBACK
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise StartupError(f"{host!r} is not an IP address") from error
    if not (is_loopback or in_cluster):
        raise StartupError(
            f"{host} is not a loopback address: without a cluster only this machine is served"
        )
    return host


def at_port(host: str, port: int) -> str:
    """Return the address as gRPC and URLs write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _every_address() -> str:
    """Return the address for both families, or for IPv4 where the machine has no other."""
    try:
        with socket.create_server((EVERYWHERE, 0), family=socket.AF_INET6, dualstack_ipv6=True):
            return EVERYWHERE
    except (OSError, ValueError):
        return _EVERY_IPV4
