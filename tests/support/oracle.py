"""A second opinion on policies, read from messages, written without a glance at the product.

Everything is spelled out over the protobuf fields, slowly: strings of bits for addresses, regular
expressions for texts, one table of fields. It shares no code with controlplane/lab or /insight.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane.pb import authorization_pb2, workload_pb2


class Caller(NamedTuple):
    """A connection; ``spiffe`` is "" for plaintext, addresses are packed."""

    spiffe: str
    source: bytes
    destination: bytes
    port: int


def is_allowed(
    workload: workload_pb2.Workload,
    by_name: Mapping[str, authorization_pb2.Authorization],
    caller: Caller,
) -> bool:
    """Return whether the connection to the workload is let in; policies by resource name."""
    covering = [
        policy
        for name, policy in by_name.items()
        if not policy.dry_run
        and (
            name in workload.authorization_policies
            or policy.scope == authorization_pb2.GLOBAL
            or (
                policy.scope == authorization_pb2.NAMESPACE
                and policy.namespace == workload.namespace
            )
        )
    ]
    denies = [policy for policy in covering if policy.action == authorization_pb2.DENY]
    allows = [policy for policy in covering if policy.action == authorization_pb2.ALLOW]
    if any(fires(policy, caller) for policy in denies):
        return False
    return not allows or any(fires(policy, caller) for policy in allows)


def fires(policy: authorization_pb2.Authorization, caller: Caller) -> bool:
    for group in policy.groups:
        held = 0
        for rule in group.rules:
            outcomes = [match_outcome(match, caller) for match in rule.matches]
            held += (not outcomes) or (True in outcomes)
        if held == len(group.rules):
            return True
    return False


def match_outcome(match: authorization_pb2.Match, caller: Caller) -> bool | None:
    """Return None for a match with no usable condition."""
    identity = re.fullmatch(r"spiffe://([^/]*)/ns/([^/]*)/sa/([^/]*)", caller.spiffe)
    namespace = identity[2] if identity else ""
    principal = caller.spiffe[len("spiffe://") :] if identity else ""
    conditions: list[bool] = []

    def judge(wanted: list[bool], unwanted: list[bool]) -> None:
        if wanted:
            conditions.append(any(wanted))
        if unwanted:
            conditions.append(not any(unwanted))

    judge(texts(match.namespaces, namespace), texts(match.not_namespaces, namespace))
    judge(texts(match.principals, principal), texts(match.not_principals, principal))
    judge(
        accounts(match.service_accounts, identity), accounts(match.not_service_accounts, identity)
    )
    judge(blocks(match.source_ips, caller.source), blocks(match.not_source_ips, caller.source))
    judge(
        blocks(match.destination_ips, caller.destination),
        blocks(match.not_destination_ips, caller.destination),
    )
    judge(
        [port == caller.port for port in match.destination_ports],
        [port == caller.port for port in match.not_destination_ports],
    )
    return all(conditions) if conditions else None


def accounts(
    entries: Iterable[authorization_pb2.ServiceAccountMatch], identity: re.Match[str] | None
) -> list[bool]:
    return [
        identity is not None
        and (identity[2], identity[3]) == (entry.namespace, entry.serviceAccount)
        for entry in entries
    ]


def texts(patterns: Iterable[authorization_pb2.StringMatch], value: str) -> list[bool]:
    expressions = {
        "exact": lambda pattern: re.escape(pattern.exact),
        "prefix": lambda pattern: re.escape(pattern.prefix) + ".*",
        "suffix": lambda pattern: ".*" + re.escape(pattern.suffix),
        "presence": lambda _: ".+",
    }
    return [
        bool(value) and bool(re.fullmatch(expressions[kind](pattern), value, re.DOTALL))
        for pattern in patterns
        for kind in [pattern.WhichOneof("match_type")]
        if kind
    ]


def blocks(entries: Iterable[authorization_pb2.Address], address: bytes) -> list[bool]:
    found = []
    for entry in entries:
        width = 8 * len(entry.address)
        if width in {32, 128} and entry.length <= width:
            found.append(
                width == 8 * len(address)
                and bits(entry.address)[: entry.length] == bits(address)[: entry.length]
            )
    return found


def bits(packed: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in packed)
