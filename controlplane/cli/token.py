"""``istiod-lite token``: print a token for a workload that no cluster gives one, or the admin's."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from controlplane.admin.admin_token import AdminTokenError, read_admin_token
from controlplane.authentication.accounts import read_account
from controlplane.authentication.issuer_key import IssuerKeyError, load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import SystemClock
from controlplane.model.names import Name
from controlplane.settings import Settings

AUDIENCE: Final = "istio-ca"

_DURATION: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)


def token(  # noqa: PLR0913 - one option each
    *,
    service_account: Annotated[
        str | None, typer.Option(metavar="NAMESPACE/NAME", help="Whose token is made.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="Print the token of the admin side instead.")
    ] = False,
    pod: Annotated[str, typer.Option(help="Pod the token is bound to.")] = "",
    pod_uid: Annotated[str, typer.Option(help="Uid of that pod.")] = "",
    node: Annotated[str, typer.Option(help="Node of that pod.")] = "",
    audience: Annotated[str, typer.Option(help="Whom the token is for, a comma list.")] = AUDIENCE,
    ttl: Annotated[str, typer.Option(help="How long it is valid, such as 1h30m.")] = "1h",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where keys are kept.", show_default="./.istiod-lite")
    ] = None,
) -> None:
    """Print a token that a control plane with the same data folder accepts.

    The claims are what the options say, nothing is looked up; a token bound to a pod is accepted
    while the mesh has a pod of that name and uid. Whoever holds the token is that workload.

    With --admin it is the token with which the admin side of that control plane shows everything;
    only the user that the control plane runs as can have it.

    Exit code 1 when the signing key or the admin token cannot be used, 2 for options that make no
    sense.

    Example: istiod-lite token --service-account istio-system/ztunnel --pod ztunnel-1
    --pod-uid 0b8a --node node-1
    """
    folder = Settings().data_dir if data_dir is None else data_dir
    if admin:
        if service_account or pod or pod_uid or node:
            raise typer.BadParameter("--admin is nobody's: it goes with --data-dir only")
        _print_admin_token(folder)
        return
    if service_account is None:
        raise typer.BadParameter("give --service-account, or --admin")
    account, lifetime = _account(service_account), _duration(ttl)
    if bool(pod) != bool(pod_uid):
        raise typer.BadParameter("--pod and --pod-uid need each other")
    if node and not pod:
        raise typer.BadParameter("--node needs --pod: a token is bound to a node through its pod")
    audiences = tuple(filter(None, audience.split(",")))
    if not audiences:
        raise typer.BadParameter("--audience names nobody")
    try:
        key = load_issuer_key(folder)
    except IssuerKeyError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error
    request = TokenRequest(
        account=account,
        audiences=audiences,
        lifetime=lifetime,
        pod=pod,
        pod_uid=pod_uid,
        node=node,
    )
    typer.echo(issue_token(key, request, SystemClock()))


def _print_admin_token(folder: Path) -> None:
    try:
        typer.echo(read_admin_token(folder))
    except AdminTokenError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error


def _account(text: str) -> Name:
    account = read_account(text)
    if account is None:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME of a service account")
    return account


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not duration:
        raise typer.BadParameter(f"{text!r} is not a duration such as 1h30m or 90s")
    return duration
