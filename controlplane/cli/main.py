"""The command ``istiod-lite``: its subcommands, and nothing else."""

import typer

from controlplane import __version__
from controlplane.cli.analyze import analyze
from controlplane.cli.ca import ca_commands
from controlplane.cli.db import database_commands
from controlplane.cli.demo import demo
from controlplane.cli.proxy_status import proxy_status
from controlplane.cli.serve import serve
from controlplane.cli.snapshot import snapshot
from controlplane.cli.token import token
from controlplane.cli.wait import wait
from controlplane.cli.waypoint import waypoint_commands
from controlplane.cli.ztunnel_config import ztunnel_commands

application = typer.Typer(
    name="istiod-lite",
    help="A control plane for ambient service meshes.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
application.command()(serve)
application.command()(demo)
application.command()(snapshot)
application.command()(analyze)
application.command()(token)
application.command()(proxy_status)
application.command("ps", hidden=True)(proxy_status)
application.command()(wait)
application.add_typer(ca_commands)
application.add_typer(database_commands)
application.add_typer(waypoint_commands)
application.add_typer(ztunnel_commands)
application.add_typer(ztunnel_commands, name="zc", hidden=True)


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line."""
    application()


if __name__ == "__main__":
    main()
