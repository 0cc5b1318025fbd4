"""Formats of log lines: what a user wrote comes in, why an Envoy would reject it goes out.

An Envoy refuses a whole listener for one unknown word in a format, so only words are accepted that
every supported Envoy knows. docs/protocol/waypoint-config.md WC-62.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

MOST_CHARACTERS: Final = 16_384
MOST_DEPTH: Final = 8

_COMMAND: Final = re.compile(
    r"%(?P<name>[A-Z0-9_]+)(?:\((?P<argument>[^()%]*(?:%[^()]*)?)\))?(?::(?P<length>[0-9]{1,6}))?%"
)
_HEADER: Final = re.compile(r":?[!#$&'*+.^_`|~0-9A-Za-z-]{1,128}")
_WORDS: Final = re.compile(r"[A-Za-z0-9_.:/\[\], -]{1,256}")
_TIME: Final = re.compile(r"[A-Za-z0-9_.:/\-+, %]{0,128}")
_TIME_WORD: Final = re.compile(
    r"%(?:[1-9]?f|E[zSsfT*]|E[0-9][Sf]|[aAbBcdDeFgGhHIjklmMnprRsStTuUVwWxXyYzZ%])"
)
_STATE: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}(?::(?:PLAIN|TYPED))?")

_LINE_BREAKS: Final = str.maketrans("", "", "\n\r\t")

PLAIN_WORDS: Final = frozenset(
    """
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT
    DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_FINGERPRINT_1
    DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_SERIAL
    DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS
    DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER
    DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON
    DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME
    GRPC_STATUS_NUMBER HOSTNAME PROTOCOL REQUESTED_SERVER_NAME REQUEST_DURATION
    REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_CODE_DETAILS
    RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES
    RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME STREAM_ID
    TLS_JA3_FINGERPRINT TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
    UPSTREAM_CONNECTION_ID UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST
    UPSTREAM_HOST_NAME UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
    UPSTREAM_LOCAL_PORT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS
    UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT
    UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT
    VIRTUAL_CLUSTER_NAME
    """.split()  # noqa: SIM905 - a line for each word would be long
)
"""Words that stand alone."""

_HEADERS: Final = frozenset({"REQ", "RESP", "TRAILER"})
_TIMES: Final = frozenset(
    {"DOWNSTREAM_PEER_CERT_V_END", "DOWNSTREAM_PEER_CERT_V_START", "START_TIME"}
)
_METADATA: Final = frozenset({"CLUSTER_METADATA", "DYNAMIC_METADATA", "UPSTREAM_METADATA"})
_STATES: Final = frozenset({"FILTER_STATE", "UPSTREAM_FILTER_STATE"})
_GRPC: Final = frozenset({None, "CAMEL_STRING", "NUMBER", "SNAKE_STRING"})


def text_fault(text: str) -> str | None:
    """Return why a line of text cannot have this format, None when it can."""
    if len(text) > MOST_CHARACTERS:
        return f"a format has at most {MOST_CHARACTERS} characters"
    if _has_control_characters(text):
        return "a format has control characters"
    return _text_fault(text)


def json_fault(fields: Mapping[str, Any], *, depth: int = 1) -> str | None:
    """Return why a line cannot be an object of these members, None when it can.

    Members are texts with words in them, numbers, booleans, or objects of such members.
    """
    if depth > MOST_DEPTH:
        return f"objects are nested more than {MOST_DEPTH} deep"
    for name, member in fields.items():
        # Words in the name of a member are not read, but it is text all the same.
        fault = text_fault(name.replace("%", "")) or _member_fault(member, depth)
        if fault is not None:
            return fault
    return None


def _member_fault(member: Any, depth: int) -> str | None:
    match member:
        case str():
            return text_fault(member)
        case dict():
            return json_fault(member, depth=depth + 1)
        case list():
            return "a member is a list"
        case _:
            return None


def _has_control_characters(text: str) -> bool:
    return not text.translate(_LINE_BREAKS).isprintable()


def _text_fault(text: str) -> str | None:
    position = text.find("%")
    while position >= 0:
        if text.startswith("%%", position):
            position = text.find("%", position + 2)
            continue
        command = _COMMAND.match(text, position)
        if command is None:
            return f"{text[position : position + 40]!r} is no word; a percent sign is written %%"
        fault = _command_fault(command)
        if fault is not None:
            return f"{command[0][:80]}: {fault}"
        position = text.find("%", command.end())
    return None


def _command_fault(command: re.Match[str]) -> str | None:
    name, argument, length = command["name"], command["argument"], command["length"]
    takes_length = name in _HEADERS | _METADATA | _STATES
    if length is not None and not takes_length:
        return "the word takes no length"
    if name in PLAIN_WORDS:
        return None if argument is None else "the word takes nothing in brackets"
    accepts = _accepts(name, argument)
    if accepts is None:
        return "the word is not known to every Envoy that waypoints may run"
    return None if accepts else "what is in the brackets is not understood"


def _accepts(name: str, argument: str | None) -> bool | None:
    """Return whether ``name`` takes ``argument``, None for an unknown word."""
    if name in _HEADERS:
        first, mark, other = (argument or "").partition("?")
        return bool(_HEADER.fullmatch(first)) and (not mark or bool(_HEADER.fullmatch(other)))
    if name in _TIMES:
        return argument is None or _is_time(argument)
    if name in _METADATA:
        return bool(_WORDS.fullmatch(argument or ""))
    if name in _STATES:
        return bool(_STATE.fullmatch(argument or ""))
    if name == "GRPC_STATUS":
        return argument in _GRPC
    return None


def _is_time(argument: str) -> bool:
    return bool(_TIME.fullmatch(argument)) and "%" not in _TIME_WORD.sub("", argument)
