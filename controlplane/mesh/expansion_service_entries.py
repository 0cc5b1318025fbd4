"""Addresses allocated to the hosts of ServiceEntries that have none.

ServiceEntries come in, the same with ``status.addresses`` go out, and a Problem for each host
whose address belongs to another. An address that is taken is not replaced by a further guess:
then the loser's address would depend on what else is loaded. Source: docs/protocol/expansion.md
EX-50 to EX-54.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import AllocatedAddress, ServiceEntry
from controlplane.mesh.expansion_addresses import AddressRange
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.service_entries import wants_allocation
from controlplane.model.names import Name
from controlplane.model.network import address_from_text, prefix_from_text, text_from_address
from controlplane.model.problem import Problem, Severity


class Claim(NamedTuple):
    """One host's claim on an address; stated claims order before derived ones."""

    is_derived: bool
    entry: Name
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatedEntries:
    """The ServiceEntries with their addresses, and the hosts that found none."""

    service_entries: Collection[Name, ServiceEntry]
    problems: Collection[ProblemKey, Problem]


def build_allocated_entries(
    graph: Graph,
    service_entries: Collection[Name, ServiceEntry],
    ranges: tuple[AddressRange, ...],
) -> AllocatedEntries:
    """Register ``service_entries`` on ``graph``, one address of each range per eligible host."""
    claimed = service_entries.index(
        "claimed address", lambda entry: {address for address, _ in _claims(entry, ranges)}
    )

    def holder(fetch: Fetch, address: bytes) -> Claim:
        return min(
            claim
            for entry in fetch.where(claimed, address)
            for wanted, claim in _claims(entry, ranges)
            if wanted == address
        )

    def allocate(fetch: Fetch, entry: ServiceEntry) -> ServiceEntry:
        given = tuple(
            AllocatedAddress(text_from_address(address), host)
            for host in hosts_without_address(entry)
            for address in _addresses(entry.key, host, ranges)
            if holder(fetch, address) == Claim(is_derived=True, entry=entry.key, host=host)
        )
        if not given:
            return entry
        return msgspec.structs.replace(entry, status_addresses=entry.status_addresses + given)

    def refuse(fetch: Fetch, entry: ServiceEntry) -> dict[ProblemKey, Problem]:
        found: dict[ProblemKey, Problem] = {}
        for host in hosts_without_address(entry):
            for address in _addresses(entry.key, host, ranges):
                kept_by = holder(fetch, address)
                if kept_by != Claim(is_derived=True, entry=entry.key, host=host):
                    problem = _collision(entry, host, address, kept_by)
                    found[problem_key(problem)] = problem
        return found

    return AllocatedEntries(
        service_entries=graph.derive("allocated service entries", service_entries, allocate),
        problems=graph.derive_many("service entry address problems", service_entries, refuse),
    )


def hosts_without_address(entry: ServiceEntry) -> tuple[str, ...]:
    """Return the hosts that an address is to be allocated for, each once, in order."""
    stated = {given.host for given in entry.status_addresses}
    return tuple(
        host
        for host in dict.fromkeys(entry.hosts)
        if host not in stated and wants_allocation(entry, host)
    )


def _claims(entry: ServiceEntry, ranges: tuple[AddressRange, ...]) -> Iterator[tuple[bytes, Claim]]:
    stated = [(text, "") for text in entry.addresses]
    stated += [(given.value, given.host) for given in entry.status_addresses]
    for text, host in stated:
        address = _single_address(text)
        if address is not None:
            yield address, Claim(is_derived=False, entry=entry.key, host=host)
    for host in hosts_without_address(entry):
        for address in _addresses(entry.key, host, ranges):
            yield address, Claim(is_derived=True, entry=entry.key, host=host)


def _single_address(text: str) -> bytes | None:
    prefix = prefix_from_text(text)
    if prefix is not None:
        packed, length = prefix
        return packed if length == len(packed) * 8 else None
    return address_from_text(text)


def _addresses(key: Name, host: str, ranges: tuple[AddressRange, ...]) -> Iterator[bytes]:
    for addresses in ranges:
        yield addresses.address(f"{key}/{host}")


def _collision(entry: ServiceEntry, host: str, address: bytes, kept_by: Claim) -> Problem:
    text = text_from_address(address)
    return Problem(
        severity=Severity.ERROR,
        code="expansion.address-collision",
        message=f"the address {text} of host {host} is kept by ServiceEntry {kept_by.entry}",
        object=entry.reference,
        field=f"status.addresses[{text}]",
    )
