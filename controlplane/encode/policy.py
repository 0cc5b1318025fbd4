"""Policies: the value in, the resource of the authorization stream out (docs/protocol/messages.md).

A node proxy drops an address block it cannot read and goes on without it, which may widen or
empty a match: such a value is refused here instead.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

from controlplane.encode.addresses import packed, port, prefix_length, resource_name
from controlplane.encode.envelope import AUTHORIZATION_TYPE, content_version, envelope
from controlplane.encode.errors import EncodeError
from controlplane.encode.resource import Resource
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Authorization,
    Match,
    MatchType,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)
from controlplane.pb import authorization_pb2

_STRINGS: Final = ("namespaces", "not_namespaces", "principals", "not_principals")
_ACCOUNTS: Final = ("service_accounts", "not_service_accounts")
_BLOCKS: Final = ("source_ips", "not_source_ips", "destination_ips", "not_destination_ips")
_PORTS: Final = ("destination_ports", "not_destination_ports")


def encode_authorization(authorization: Authorization) -> Resource:
    """Return the resource named ``<namespace>/<name>``, the name workloads list it under.

    Raises EncodeError for values a node proxy would reject or leave out.
    """
    try:
        name = resource_name(authorization.key)
        message = authorization_pb2.Authorization(
            name=authorization.name,
            namespace=authorization.namespace,
            scope=cast("authorization_pb2.Scope", Scope(authorization.scope)),
            action=cast("authorization_pb2.Action", Action(authorization.action)),
            dry_run=authorization.dry_run,
        )
        for group in authorization.groups:
            added = message.groups.add()
            for rule in group.rules:
                clause = added.rules.add()
                for match in rule.matches:
                    _fill_match(clause.matches.add(), match)
        content = message.SerializeToString(deterministic=True)
        version = content_version(content)
        return Resource(name, version, envelope(name, version, AUTHORIZATION_TYPE, content))
    except (ValueError, TypeError) as error:
        raise EncodeError(str(authorization.key), str(error)) from error


def _fill_match(message: authorization_pb2.Match, match: Match) -> None:
    """Copy every field: model and message use the same names."""
    for field in _STRINGS:
        _add_strings(getattr(message, field), getattr(match, field))
    for field in _ACCOUNTS:
        _add_accounts(getattr(message, field), getattr(match, field))
    for field in _BLOCKS:
        _add_blocks(getattr(message, field), getattr(match, field))
    for field in _PORTS:
        getattr(message, field).extend(port(number) for number in getattr(match, field))


def _add_strings(field: Any, matches: Iterable[StringMatch]) -> None:
    for match in matches:
        added = field.add()
        if match.type is MatchType.PRESENCE:
            added.presence.SetInParent()
        else:
            setattr(added, MatchType(match.type).value, match.value)


def _add_accounts(field: Any, matches: Iterable[ServiceAccountMatch]) -> None:
    for match in matches:
        field.add(namespace=match.namespace, serviceAccount=match.service_account)


def _add_blocks(field: Any, matches: Iterable[AddressMatch]) -> None:
    for match in matches:
        address = packed(match.address)
        field.add(address=address, length=prefix_length(address, match.length))
