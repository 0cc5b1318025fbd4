"""Who a chain of bytes is for: its policies come in, the condition of getting there goes out.

The filter that enforces policies on connections judges at the client's first byte. Until then the
server may have said what the client must not hear, and the destination has seen a connection. So
connections are judged a first time where their chain is chosen, before anything is opened.
docs/protocol/http-policies.md HP-24.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.ip.v3 import ip_pb2
from google.protobuf.message import Message
from xds.type.matcher.v3 import matcher_pb2, string_pb2

from controlplane.encode.errors import EncodeError
from controlplane.encode.rbac_criteria import address_block, identity_match
from controlplane.encode.typed import encoded, matching
from controlplane.encode.waypoint_names import PEER_PRINCIPAL
from controlplane.model.http_policy import (
    Attribute,
    Criteria,
    Criterion,
    HttpAction,
    HttpPolicy,
    HttpRule,
    Value,
)
from controlplane.model.policy import AddressMatch

Predicate: Final = matcher_pb2.Matcher.MatcherList.Predicate
Condition = Any
"""A Predicate, or True or False where nothing has to be looked at."""


class Gate(NamedTuple):
    """Whether everybody is let through to a chain, or else who: a serialized Predicate.

    An empty one is nobody.
    """

    is_open: bool = True
    predicate: bytes = b""


OPEN: Final = Gate()
CLOSED: Final = Gate(is_open=False)


def encode_gate(policies: Iterable[HttpPolicy] | None) -> Gate:
    """Return who is let through by ``policies``: nobody where nothing is known of them.

    Raises EncodeError for values an Envoy would reject.
    """
    if policies is None:
        return CLOSED
    try:
        condition = _condition(policies)
        if isinstance(condition, bool):
            return OPEN if condition else CLOSED
        return Gate(is_open=False, predicate=encoded(condition))
    except (ValueError, TypeError) as error:
        raise EncodeError("gate", str(error)) from error


def _condition(policies: Iterable[HttpPolicy]) -> Condition:
    enforced = [policy.for_connections() for policy in policies if not policy.is_dry_run]
    refusing = (HttpAction.DENY, HttpAction.CUSTOM)
    refused = _any(
        _rule(rule) for each in enforced if each.action in refusing for rule in each.rules
    )
    allowing = [each for each in enforced if each.action is HttpAction.ALLOW]
    allowed = _any(_rule(rule) for each in allowing for rule in each.rules) if allowing else True
    return _all([_not(refused), allowed])


def _rule(rule: HttpRule) -> Condition:
    return _all(
        [
            _any(_criteria(each) for each in rule.sources) if rule.sources else True,
            _any(_criteria(each) for each in rule.operations) if rule.operations else True,
            _criteria(rule.conditions),
        ]
    )


def _criteria(criteria: Criteria) -> Condition:
    return _all(_criterion(each) for each in criteria)


def _criterion(criterion: Criterion) -> Condition:
    found = _any(_is(criterion.attribute, value) for value in criterion.values)
    return _not(found) if criterion.is_negated else found


def _is(attribute: Attribute, value: Value) -> Condition:
    match attribute, value:
        case ((Attribute.SOURCE_IP | Attribute.REMOTE_IP), AddressMatch() as block):
            return _address(network_inputs_pb2.SourceIPInput(), block)
        case Attribute.DESTINATION_IP, AddressMatch() as block:
            return _address(network_inputs_pb2.DestinationIPInput(), block)
        case Attribute.DESTINATION_PORT, int() as port:
            exactly = string_pb2.StringMatcher(exact=str(port))
            return _single(network_inputs_pb2.DestinationPortInput(), exactly)
        case Attribute.METADATA, _:
            # Filters come after: nothing has been told by any.
            return False
    peer = network_inputs_pb2.FilterStateInput(key=PEER_PRINCIPAL)
    return _single(peer, _same(identity_match(attribute, value)))


def _address(value: Message, block: AddressMatch) -> Condition:
    among = ip_pb2.Ip(cidr_ranges=[address_block(block)], stat_prefix="gate")
    return Predicate(
        single_predicate={"input": matching("ip", value), "custom_match": matching("ip", among)}
    )


def _single(value: Message, match: Any) -> Condition:
    return Predicate(single_predicate={"input": matching("input", value), "value_match": match})


def _same(match: Any) -> Any:
    """Return a matcher of one kind as one of the other, which has the same fields."""
    if match.WhichOneof("match_pattern") == "safe_regex":
        return _regex(match.safe_regex.regex)
    return string_pb2.StringMatcher.FromString(match.SerializeToString())


def _regex(pattern: str) -> Any:
    return string_pb2.StringMatcher(safe_regex={"google_re2": {}, "regex": pattern})


def _not(condition: Condition) -> Condition:
    if isinstance(condition, bool):
        return not condition
    return Predicate(not_matcher=condition)


def _all(conditions: Iterable[Condition]) -> Condition:
    parts = [each for each in conditions if each is not True]
    if any(each is False for each in parts):
        return False
    if len(parts) < 2:
        return parts[0] if parts else True
    return Predicate(and_matcher={"predicate": parts})


def _any(conditions: Iterable[Condition]) -> Condition:
    parts = [each for each in conditions if each is not False]
    if any(each is True for each in parts):
        return True
    if len(parts) < 2:
        return parts[0] if parts else False
    return Predicate(or_matcher={"predicate": parts})
