"""Trusted node accounts: the text of a setting in, service accounts of node proxies out."""

import re
from typing import Final, NamedTuple

from controlplane.model.names import Name

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_ACCOUNT: Final = re.compile(rf"(?P<namespace>{_LABEL})/(?P<name>{_LABEL}(?:\.{_LABEL})*)")


class ReadAccounts(NamedTuple):
    """The accounts of a list, and the entries of it that name none."""

    accounts: frozenset[Name]
    malformed: tuple[str, ...]


def read_accounts(text: str) -> ReadAccounts:
    """Read ``namespace/serviceaccount,...``; spaces around entries and empty entries are ignored.

    Source: docs/protocol/authentication.md NA-2.
    """
    accounts = set()
    malformed = []
    for entry in filter(None, map(str.strip, text.split(","))):
        match = _ACCOUNT.fullmatch(entry)
        if match is None or len(match["namespace"]) > 63 or len(match["name"]) > 253:
            malformed.append(entry)
        else:
            accounts.add(Name(match["namespace"], match["name"]))
    return ReadAccounts(frozenset(accounts), tuple(malformed))
