"""Criteria of a policy -> what Envoy's filters compare: permissions and principals.

Regular expressions match the whole of what they are asked about. docs/protocol/http-policies.md
HP-13.
"""

import re
from typing import Any, Final

from envoy.config.core.v3 import address_pb2, extension_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.type.matcher.v3 import string_pb2, value_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import cidr_pb2

from controlplane.encode.typed import packed
from controlplane.encode.waypoint_names import (
    PEER_PRINCIPAL,
    SOURCE_ADDRESS,
    TOKEN_CHECK,
    TOKEN_PAYLOAD,
)
from controlplane.model.http_policy import (
    Attribute,
    Criterion,
    HostInAnyForm,
    ListItem,
    PathTemplate,
    TokenPrincipal,
    Value,
    Wildcard,
)
from controlplane.model.network import text_from_address
from controlplane.model.policy import AddressMatch, MatchType, ServiceAccountMatch, StringMatch

_ANYTHING: Final = StringMatch(MatchType.PRESENCE)
_AUTHORITY: Final = ":authority"
_SEGMENT: Final = "[^/]*"
_DOMAIN: Final = "spiffe://[^/]+"


def permission(criterion: Criterion) -> Any:
    """Return what is to be asked for.

    Raises TypeError for a value that is none of the attribute.
    """
    parts = [_permission(criterion, value) for value in criterion.values]
    either = parts[0]
    if len(parts) > 1:
        either = rbac_pb2.Permission(or_rules=rbac_pb2.Permission.Set(rules=parts))
    return rbac_pb2.Permission(not_rule=either) if criterion.is_negated else either


def principal(criterion: Criterion) -> Any:
    """Return who is to ask.

    Raises TypeError for a value that is none of the attribute.
    """
    parts = [_principal(criterion, value) for value in criterion.values]
    either = parts[0]
    if len(parts) > 1:
        either = rbac_pb2.Principal(or_ids=rbac_pb2.Principal.Set(ids=parts))
    return rbac_pb2.Principal(not_id=either) if criterion.is_negated else either


def _permission(criterion: Criterion, value: Value) -> Any:  # noqa: PLR0911 - a table of attributes
    message = rbac_pb2.Permission
    match criterion.attribute, value:
        case Attribute.HOST, (StringMatch() | HostInAnyForm()) as host:
            return message(header=_host(host))
        case Attribute.METHOD, StringMatch() as match:
            return message(header=_header(":method", match))
        case Attribute.PATH, StringMatch() as match:
            return message(url_path={"path": _string(match)})
        case Attribute.PATH, PathTemplate(text):
            template = uri_template_match_pb2.UriTemplateMatchConfig(path_template=text)
            return message(
                uri_template=extension_pb2.TypedExtensionConfig(
                    name="uri-template", typed_config=packed(template)
                )
            )
        case Attribute.DESTINATION_PORT, int() as port:
            return message(destination_port=port)
        case Attribute.DESTINATION_IP, AddressMatch() as block:
            return message(destination_ip=address_block(block))
        case Attribute.SERVER_NAME, StringMatch() as match:
            return message(requested_server_name=_string(match))
        case Attribute.METADATA, StringMatch() as match:
            return message(sourced_metadata=_metadata(*criterion.path, value=_text(match)))
        case Attribute.METADATA, ListItem(match):
            return message(sourced_metadata=_metadata(*criterion.path, value=_item(match)))
    raise TypeError(f"{criterion.attribute} cannot be {value!r}")


def _principal(criterion: Criterion, value: Value) -> Any:  # noqa: PLR0911 - a table of attributes
    match criterion.attribute, value:
        case Attribute.REMOTE_IP, AddressMatch() as block:
            return rbac_pb2.Principal(remote_ip=address_block(block))
        case Attribute.SOURCE_IP, AddressMatch() as block:
            ranges = {"ranges": [cidr_pb2.CidrRange(**_block(block))]}
            return rbac_pb2.Principal(filter_state={"key": SOURCE_ADDRESS, "address_match": ranges})
        case Attribute.HEADER, StringMatch() as match:
            return rbac_pb2.Principal(header=_header(criterion.path[0], match))
        case Attribute.TOKEN_PRINCIPAL, TokenPrincipal(issuer, subject):
            both = [_claim(("iss",), _text(issuer)), _claim(("sub",), _text(subject))]
            return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=both))
        case Attribute.AUDIENCE, StringMatch() as match:
            return _claim(("aud",), _text_or_item(match))
        case Attribute.PRESENTER, StringMatch() as match:
            return _claim(("azp",), _text_or_item(match))
        case Attribute.CLAIM, StringMatch() as match:
            return _claim(criterion.path, _text_or_item(match))
    match = identity_match(criterion.attribute, value)
    return rbac_pb2.Principal(filter_state={"key": PEER_PRINCIPAL, "string_match": match})


def identity_match(attribute: Attribute, value: Value) -> Any:  # noqa: PLR0911 - a table
    """Return what a SPIFFE identity is compared with; each part of it ends where it ends.

    Raises TypeError for a value that is none of the attribute.
    """
    match attribute, value:
        case Attribute.PRINCIPAL, StringMatch(MatchType.SUFFIX, text):
            return _regex(f"spiffe://.*{re.escape(text)}")
        case Attribute.PRINCIPAL, StringMatch(MatchType.EXACT, text):
            return string_pb2.StringMatcher(exact=f"spiffe://{text}")
        case Attribute.PRINCIPAL, StringMatch(_, text):
            return string_pb2.StringMatcher(prefix=f"spiffe://{text}")
        case Attribute.NAMESPACE, Wildcard(parts):
            return _regex(f"{_DOMAIN}/ns/{_holes(parts)}/sa/.*")
        case Attribute.SERVICE_ACCOUNT, ServiceAccountMatch(namespace, account):
            return _regex(f"{_DOMAIN}/ns/{re.escape(namespace)}/sa/{re.escape(account)}")
        case Attribute.TRUST_DOMAIN, Wildcard((domain,)):
            return string_pb2.StringMatcher(prefix=f"spiffe://{domain}/")
        case Attribute.TRUST_DOMAIN, Wildcard(parts):
            return _regex(f"spiffe://{_holes(parts)}/.*")
    raise TypeError(f"{attribute} cannot be {value!r}")


def _holes(parts: tuple[str, ...]) -> str:
    return _SEGMENT.join(re.escape(part) for part in parts)


def _host(host: StringMatch | HostInAnyForm) -> Any:
    if isinstance(host, StringMatch):
        return _header(_AUTHORITY, host, ignore_case=True)
    kind, text = host.match
    before = ".*" if kind is MatchType.SUFFIX else "(?:.*[@,])?"
    behind = ".*" if kind is MatchType.PREFIX else r"\.?(?:[:,].*)?"
    name = re.escape(text).replace(":", r"\.?:")
    return {"name": _AUTHORITY, "string_match": _regex(f"(?i){before}{name}{behind}")}


def _claim(path: tuple[str, ...], value: Any) -> Any:
    metadata = _metadata(TOKEN_CHECK, TOKEN_PAYLOAD, *path, value=value)
    return rbac_pb2.Principal(sourced_metadata=metadata)


def _metadata(name: str, *path: str, value: Any) -> Any:
    matcher = {"filter": name, "path": [{"key": each} for each in path], "value": value}
    return rbac_pb2.SourcedMetadata(metadata_matcher=matcher)


def _text(match: StringMatch) -> Any:
    return value_pb2.ValueMatcher(string_match=_string(match))


def _item(match: StringMatch) -> Any:
    return value_pb2.ValueMatcher(list_match={"one_of": _text(match)})


def _text_or_item(match: StringMatch) -> Any:
    return value_pb2.ValueMatcher(or_match={"value_matchers": [_item(match), _text(match)]})


def _header(name: str, match: StringMatch, *, ignore_case: bool = False) -> Any:
    if match == _ANYTHING:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string(match, ignore_case=ignore_case)}


def _string(match: StringMatch, *, ignore_case: bool = False) -> Any:
    match match:
        case (MatchType.EXACT, text):
            return string_pb2.StringMatcher(exact=text, ignore_case=ignore_case)
        case (MatchType.PREFIX, text):
            return string_pb2.StringMatcher(prefix=text, ignore_case=ignore_case)
        case (MatchType.SUFFIX, text):
            return string_pb2.StringMatcher(suffix=text, ignore_case=ignore_case)
    return _regex(".+")


def _regex(pattern: str) -> Any:
    return string_pb2.StringMatcher(safe_regex={"regex": pattern})


def address_block(block: AddressMatch) -> Any:
    """Return the addresses of ``block``."""
    return address_pb2.CidrRange(**_block(block))


def _block(block: AddressMatch) -> dict[str, Any]:
    return {
        "address_prefix": text_from_address(block.address),
        "prefix_len": wrappers_pb2.UInt32Value(value=block.length),
    }
