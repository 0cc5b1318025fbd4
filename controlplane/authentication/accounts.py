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
    entries = tuple(filter(None, map(str.strip, text.split(","))))
    read = {entry: read_account(entry) for entry in entries}
    return ReadAccounts(
        frozenset(account for account in read.values() if account is not None),
        tuple(entry for entry, account in read.items() if account is None),
    )


def read_account(text: str) -> Name | None:
    """Return the account that ``namespace/serviceaccount`` names, None where it names none."""
    match = _ACCOUNT.fullmatch(text)
    if match is None or len(match["namespace"]) > 63 or len(match["name"]) > 253:
        return None
    return Name(match["namespace"], match["name"])
