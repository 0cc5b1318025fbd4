"""Bytes of an istio.security.Authorization in, an ``Authorization`` out, or a rejection.

Addresses that cannot be read and comparisons of no kind are dropped without a word, as a ztunnel
does, which may leave a match empty (docs/protocol/ztunnel.md ZT-18).
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from google.protobuf.message import DecodeError

from controlplane.lab.ztunnel.authorization import (
    Action,
    Authorization,
    Comparison,
    Group,
    Match,
    Rule,
    Scope,
    ServiceAccountMatch,
    TextMatch,
)
from controlplane.lab.ztunnel.errors import RejectedResourceError, RejectReason
from controlplane.lab.ztunnel.network import IpPrefix
from controlplane.pb import authorization_pb2

_ADDRESS_LENGTHS = (4, 16)


def authorization_from_bytes(data: bytes) -> Authorization:
    """Return the policy of a serialized Authorization; raises ``RejectedResourceError``."""
    try:
        message = authorization_pb2.Authorization.FromString(data)
    except DecodeError as error:
        raise RejectedResourceError(RejectReason.UNDECODABLE) from error
    try:
        scope, action = Scope(message.scope), Action(message.action)
    except ValueError as error:
        raise RejectedResourceError(RejectReason.UNKNOWN_VALUE, str(error)) from error
    return Authorization(
        name=message.name,
        namespace=message.namespace,
        scope=scope,
        action=action,
        groups=tuple(
            Group(tuple(Rule(tuple(map(_match, rule.matches))) for rule in group.rules))
            for group in message.groups
        ),
        dry_run=message.dry_run,
    )


def _match(message: authorization_pb2.Match) -> Match:
    return Match(
        namespaces=_texts(message.namespaces),
        not_namespaces=_texts(message.not_namespaces),
        service_accounts=_accounts(message.service_accounts),
        not_service_accounts=_accounts(message.not_service_accounts),
        principals=_texts(message.principals),
        not_principals=_texts(message.not_principals),
        source_ips=_prefixes(message.source_ips),
        not_source_ips=_prefixes(message.not_source_ips),
        destination_ips=_prefixes(message.destination_ips),
        not_destination_ips=_prefixes(message.not_destination_ips),
        destination_ports=tuple(message.destination_ports),
        not_destination_ports=tuple(message.not_destination_ports),
    )


def _texts(messages: Iterable[authorization_pb2.StringMatch]) -> tuple[TextMatch, ...]:
    found = []
    for message in messages:
        kind = message.WhichOneof("match_type")
        if kind == "presence":
            found.append(TextMatch(Comparison.PRESENCE, ""))
        elif kind is not None:
            found.append(TextMatch(Comparison(kind), getattr(message, kind)))
    return tuple(found)


def _accounts(
    messages: Iterable[authorization_pb2.ServiceAccountMatch],
) -> tuple[ServiceAccountMatch, ...]:
    return tuple(
        ServiceAccountMatch(message.namespace, message.serviceAccount) for message in messages
    )


def _prefixes(messages: Iterable[authorization_pb2.Address]) -> tuple[IpPrefix, ...]:
    found: list[IpPrefix] = []
    for message in messages:
        if len(message.address) not in _ADDRESS_LENGTHS:
            continue
        address = ip_address(message.address)
        if message.length <= address.max_prefixlen:
            found.append(ip_network((address, message.length), strict=False))
    return tuple(found)
