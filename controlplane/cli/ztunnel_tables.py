"""Dumps of node proxies as the tables users of ``ztunnel-config`` know: values in, rows out."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from controlplane.cli.ztunnel_dump import Certificate, Gateway, Policy, Secret, Service, Workload

NONE: Final = "None"
UNKNOWN: Final = "NA"

Row = tuple[str, ...]


class Form(NamedTuple):
    """How a table looks: its title, its header, and the blanks between columns."""

    title: str
    header: Row
    gap: int


WORKLOADS: Final = Form(
    "WORKLOAD INFO", ("NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"), 1
)
SERVICES: Final = Form(
    "SERVICE INFO", ("NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS"), 1
)
POLICIES: Final = Form("POLICY INFO", ("NAMESPACE", "POLICY NAME", "ACTION", "SCOPE"), 1)
CERTIFICATES: Final = Form(
    "SECRET INFO",
    (
        "CERTIFICATE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ),
    5,
)


class Names:
    """Names of services by where they are reached; made once for a table."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._names: dict[str, str] = {}
        for service in services:
            self._names.setdefault(f"{service.namespace}/{service.hostname}", service.name)
            for address in (*(service.vips or ()), *(service.addresses or ())):
                self._names.setdefault(address, service.name)

    def waypoint(self, gateway: Gateway | None) -> str:
        """Return the name of a waypoint; NA when the dump does not have its service."""
        if gateway is None:
            return NONE
        return self._names.get(gateway.destination) or UNKNOWN


def workload_rows(workloads: Iterable[Workload], names: Names) -> list[Row]:
    """Return rows of workloads, by namespace, name and node."""
    rows = (
        (
            each.namespace,
            each.name,
            ",".join(each.workload_ips or ()) or each.hostname or NONE,
            each.node or NONE,
            names.waypoint(each.waypoint),
            each.protocol or UNKNOWN,
        )
        for each in workloads
    )
    return sorted(rows, key=lambda row: (row[0], row[1], row[3], row[2]))


def service_rows(
    services: Iterable[Service], statuses: Mapping[str, str], names: Names
) -> list[Row]:
    """Return rows of services; ``statuses`` are those of workloads by their uid."""
    ordered = sorted(services, key=lambda each: (each.namespace, each.name, each.hostname))
    return [
        (
            each.namespace,
            each.name,
            ",".join(map(_address, _addresses(each))) or NONE,
            names.waypoint(each.waypoint),
            _endpoints(each, statuses),
        )
        for each in ordered
    ]


def policy_rows(policies: Iterable[Policy]) -> list[Row]:
    """Return rows of policies, by namespace and name."""
    return sorted(
        (each.namespace, each.name, each.action or UNKNOWN, each.scope or UNKNOWN)
        for each in policies
    )


def certificate_rows(secrets: Iterable[Secret], now: datetime) -> list[Row]:
    """Return a row for each certificate of each chain, by identity; ``now`` decides on validity."""
    found: list[Row] = []
    for secret in sorted(secrets, key=lambda each: each.identity):
        found.extend(_chain_rows(secret, now))
    return found


def _chain_rows(secret: Secret, now: datetime) -> Iterator[Row]:
    state = _state(secret)
    if not secret.cert_chain:
        yield secret.identity, UNKNOWN, state, "false", UNKNOWN, UNKNOWN, UNKNOWN
        return
    last = len(secret.cert_chain) - 1
    for number, certificate in enumerate(secret.cert_chain):
        kind = "Intermediate"
        if number == 0:
            kind = "Leaf"
        elif number == last and not secret.root_certs:
            # Once the root was the end of the chain; now it has a list of its own.
            kind = "Root"
        yield _certificate_row(secret.identity, kind, state, certificate, now)
    for certificate in secret.root_certs or ():
        yield _certificate_row(secret.identity, "Root", state, certificate, now)


def _certificate_row(
    identity: str, kind: str, state: str, certificate: Certificate, now: datetime
) -> Row:
    serial = certificate.serial_number or ""
    is_number = serial.isascii() and serial.isdigit()
    return (
        identity,
        kind,
        state,
        "true" if _is_valid(certificate, now) else "false",
        f"{int(serial):x}" if is_number and len(serial) < 100 else serial or UNKNOWN,
        certificate.expiration_time or UNKNOWN,
        certificate.valid_from or UNKNOWN,
    )


def _is_valid(certificate: Certificate, now: datetime) -> bool:
    first, last = _moment(certificate.valid_from), _moment(certificate.expiration_time)
    return first is not None and last is not None and first <= now <= last


def _moment(text: str | None) -> datetime | None:
    """Return a time of RFC 3339, None for anything else: what cannot be read is not valid."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _state(secret: Secret) -> str:
    """Return a state; one that carries its reason is called by its name alone."""
    if isinstance(secret.state, dict):
        return next(iter(secret.state), UNKNOWN)
    if "Unavailable" in (secret.state or ""):
        return "Unavailable"
    return secret.state or UNKNOWN


def _addresses(service: Service) -> tuple[str, ...]:
    hosts = service.vips if service.vips is not None else service.addresses
    return (*(hosts or ()), *(service.cidr_vips or ()))


def _address(address: str) -> str:
    """Return an address without its network; of a block the length stays."""
    network, slash, rest = address.partition("/")
    return rest if slash else network


def _endpoints(service: Service, statuses: Mapping[str, str]) -> str:
    held = service.endpoints or ()
    endpoints = list(held.values()) if isinstance(held, dict) else list(held)
    healthy = sum(
        (each.status or statuses.get(each.workload_uid)) == "Healthy" for each in endpoints
    )
    return f"{healthy}/{len(endpoints)}"
