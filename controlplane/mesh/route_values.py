"""What HTTP allows in names and values, and what Envoy takes of it.

Text of routes comes in, whether it may be used goes out. docs/protocol/http-routes.md HR-14.
"""

import re
from typing import Final

LONGEST_VALUE: Final = 4096
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_PATH: Final = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*")
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ORIGIN: Final = re.compile(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9*.:_\[\]-]+")
_HOSTNAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


def is_token(text: str) -> bool:
    """Return whether ``text`` may be the name of a header, a method or a cookie."""
    return _TOKEN.fullmatch(text) is not None


def is_plain(text: str) -> bool:
    """Return whether ``text`` is short, valid Unicode and without control characters."""
    if len(text) > LONGEST_VALUE:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(character >= " " and character != "\x7f" for character in text)


def is_hostname(text: str) -> bool:
    """Return whether ``text`` is one hostname: no wildcard, no port, lower case."""
    return _HOSTNAME.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Return whether ``text`` is a path: it starts with ``/`` and has no query."""
    return _PATH.fullmatch(text) is not None


def is_origin(text: str) -> bool:
    """Return whether ``text`` is ``*`` or the origin of pages, in which ``*`` may stand."""
    return _ORIGIN.fullmatch(text) is not None
