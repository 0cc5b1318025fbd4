"""The ledger's key in a Secret of the cluster: a client in, one ``LedgerKey`` for all replicas out.

Whoever comes first makes the Secret, and nobody ever changes it: it is immutable. A pod that is
scheduled anew, and all that share a database, go on with the same key, so the ledger verifies as a
whole (docs/protocol/ledger.md LG-34 to LG-36).
"""

import base64
import json
import secrets
from typing import Any, Final

from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.cluster.refusal import require_success
from controlplane.cluster.secret import new_secret, secrets_path
from controlplane.store.chain import LedgerKey
from controlplane.store.ledger_key import (
    KEY_BYTES,
    LedgerKeyAwayError,
    LedgerKeyError,
    decoded_key,
)

NAME: Final = "istiod-lite-ledger"
TYPE: Final = "istiod-lite.io/ledger-key"
_ENTRY: Final = "ledger.key"
_TRIES: Final = 3
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404


class SecretLedgerKey:
    """The key in the Secret ``name`` of ``namespace``."""

    def __init__(self, client: ClusterClient, *, namespace: str, name: str = NAME) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    @property
    def reference(self) -> str:
        """The place in a few words."""
        return f"Secret {self._namespace}/{self._name}"

    async def read(self) -> LedgerKey | None:
        """Return the key; None where there is no Secret.

        Raises:
            LedgerKeyAwayError: the API server does not answer, or refuses.
            LedgerKeyError: the Secret holds something else.
        """
        answer = await self._request("GET", secrets_path(self._namespace, self._name))
        return None if answer.status == _NOT_FOUND else self._key_in(answer)

    async def read_or_make(self) -> LedgerKey:
        """Return the key, made where there is none; of several who make one, the first has.

        Raises:
            LedgerKeyAwayError: the API server does not answer, or refuses.
            LedgerKeyError: the Secret holds something else; it stays as it is.
        """
        for _ in range(_TRIES):
            found = await self.read()
            if found is not None:
                return found
            answer = await self._request("POST", secrets_path(self._namespace), self._new())
            if answer.status != _CONFLICT:
                return self._key_in(answer)
        raise LedgerKeyAwayError(f"{self.reference} comes and goes")

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        encoded = None if body is None else json.dumps(body).encode()
        try:
            answer = await self._client.request(method, path, body=encoded)
            is_told = method == "GET" and answer.status == _NOT_FOUND
            if not is_told and answer.status != _CONFLICT:
                require_success(answer)
        # From None: an error of a client may carry the request, and with it the key.
        except ClusterError as error:
            raise LedgerKeyAwayError(f"cannot use {self.reference}: {error}") from None
        return answer

    def _key_in(self, answer: Answer) -> LedgerKey:
        try:
            found = json.loads(answer.body)
            if found["type"] != TYPE:
                raise LedgerKeyError(f"{self.reference} is a Secret of another kind")
            text = base64.b64decode(found["data"][_ENTRY], validate=True)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise LedgerKeyError(f"{self.reference} holds no ledger key") from None
        return decoded_key(text, self.reference)

    def _new(self) -> dict[str, Any]:
        text = secrets.token_hex(KEY_BYTES).encode()
        return new_secret(self._namespace, self._name, {_ENTRY: text}, kind=TYPE, is_immutable=True)
