"""Who a workload is: SPIFFE id text in, a checked identity out; certificates are issued for these.

The grammar is narrow on purpose (docs/protocol/certificates.md CA-11): a text that another reader
could take apart differently never becomes an identity.
"""

import re
from dataclasses import dataclass
from typing import Self

_MAXIMUM_LENGTH = 2048
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_SERVICE_ACCOUNT = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SPIFFE_ID = re.compile(
    r"spiffe://(?P<trust_domain>[^/]+)/ns/(?P<namespace>[^/]+)/sa/(?P<service_account>[^/]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One service account of one trust domain. ``str()`` is its SPIFFE id.

    Raises:
        ValueError: a part is outside the grammar of docs/protocol/certificates.md CA-11.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if _TRUST_DOMAIN.fullmatch(self.trust_domain) is None:
            raise ValueError("not a trust domain: 1 to 255 of a-z, 0-9, dot, underscore, hyphen")
        if len(self.namespace) > 63 or _NAMESPACE.fullmatch(self.namespace) is None:
            raise ValueError("not a namespace: a DNS label of at most 63 characters")
        if (
            len(self.service_account) > 253
            or _SERVICE_ACCOUNT.fullmatch(self.service_account) is None
        ):
            raise ValueError("not a service account: a DNS name of at most 253 characters")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the identity that ``text`` spells, all of it; None where it spells none."""
        if len(text) > _MAXIMUM_LENGTH:
            return None
        match = _SPIFFE_ID.fullmatch(text)
        if match is None:
            return None
        try:
            return cls(**match.groupdict())
        except ValueError:
            return None
