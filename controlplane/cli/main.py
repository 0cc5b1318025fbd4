"""The command ``istiod-lite``: its subcommands, and nothing else."""

from typing import Final

import typer

from controlplane import __version__
from controlplane.cli.loading import LoadingGroup, Place

COMMANDS: Final = {
    "serve": Place("controlplane.cli.serve", "serve"),
    "demo": Place("controlplane.cli.demo", "demo"),
    "snapshot": Place("controlplane.cli.snapshot", "snapshot"),
    "analyze": Place("controlplane.cli.analyze", "analyze"),
    "token": Place("controlplane.cli.token", "token"),
    "proxy-status": Place("controlplane.cli.proxy_status", "proxy_status"),
    "ps": Place("controlplane.cli.proxy_status", "proxy_status", is_alias=True),
    "ztunnel-config": Place("controlplane.cli.ztunnel_config", "ztunnel_commands"),
    "zc": Place("controlplane.cli.ztunnel_config", "ztunnel_commands", is_alias=True),
    "wait": Place("controlplane.cli.wait", "wait"),
    "log-level": Place("controlplane.cli.log_level", "log_level"),
    "waypoint": Place("controlplane.cli.waypoint", "waypoint_commands"),
    "ca": Place("controlplane.cli.ca", "ca_commands"),
    "db": Place("controlplane.cli.db", "database_commands"),
}
"""Every command and where it is; in this order they are listed."""


class Root(LoadingGroup):
    """The group of all commands."""

    places = COMMANDS


application = typer.Typer(
    name="istiod-lite",
    cls=Root,
    help="A control plane for ambient service meshes.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@application.callback()
def about() -> None:
    """A control plane for ambient service meshes."""


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line."""
    application()


if __name__ == "__main__":
    main()
