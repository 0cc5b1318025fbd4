"""``istiod-lite ca``: its commands, and nothing else."""

import typer

from controlplane.cli.ca_authorities import pause, resume, root, rotate, status, taint
from controlplane.cli.ledger import ledger, verify

ca_commands = typer.Typer(
    name="ca", help="Authorities, certificates and their ledger.", no_args_is_help=True
)
ca_commands.command("ledger")(ledger)
ca_commands.command("verify-ledger")(verify)
for command in (status, root, rotate, taint, pause, resume):
    ca_commands.command()(command)
