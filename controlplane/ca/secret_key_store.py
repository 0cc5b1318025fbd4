"""Keys in a Secret of the cluster: a client in, a ``KeyStore`` out.

The resource version of the Secret is the revision, and the API server compares it: of two writers
one is refused. What is in the Secret is encrypted where the cluster encrypts Secrets, and read by
whoever may read Secrets there (docs/protocol/authorities.md AT-8, AT-9 and
docs/protocol/leadership.md KY-1 to KY-6).
"""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from controlplane.ca.authority_set import KeptAuthorities
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.key_document import content_of, document_of
from controlplane.ca.key_store import Kept
from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.cluster.refusal import require_success
from controlplane.cluster.secret import encoded_entries, new_secret, secrets_path

NAME: Final = "istiod-lite-ca"
TYPE: Final = "istiod-lite.io/authorities"
_ENTRY: Final = "authorities.json"
_LARGEST: Final = 1024 * 1024
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404


async def _anybody_may() -> str:
    return ""


class SecretKeyStore:
    """The store in the Secret ``name`` of ``namespace``. Nothing is made before the first save.

    ``why_not_begin`` is asked before the Secret is made: it returns why it must not be, or "".
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        name: str = NAME,
        why_not_begin: Callable[[], Awaitable[str]] = _anybody_may,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._why_not_begin = why_not_begin

    @property
    def reference(self) -> str:
        """The place in a few words."""
        return f"secret:{self._namespace}/{self._name}"

    async def load(self) -> Kept | None:
        """Return what the Secret holds; None where there is none.

        Raises:
            KeyStoreError: it cannot be read, or holds something else.
        """
        found = await self._read()
        if found is None:
            return None
        return Kept(content=content_of(self._entry(found)), revision=_revision(found))

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        """Replace what the Secret holds if it is still at ``expected``; return its new revision.

        Labels and whatever else others have put on the Secret stay.

        Raises:
            KeyStoreConflictError: it is not.
            KeyStoreError: it cannot be written, or it cannot be known whether it was.
        """
        document = document_of(content)
        if len(document) > _LARGEST:
            raise KeyStoreError(f"the authorities do not fit into {self.reference}")
        entries = {_ENTRY: document}
        if expected is None:
            reason = await self._why_not_begin()
            if reason:
                raise KeyStoreError(f"{self.reference} is not there and is not made: {reason}")
            new = new_secret(self._namespace, self._name, entries, kind=TYPE)
            answer = await self._request("POST", secrets_path(self._namespace), new)
        else:
            found = await self._read()
            if found is None or _revision(found) != expected:
                raise self._conflict()
            self._entry(found)
            data = encoded_entries(entries)
            answer = await self._request("PUT", self._path, {**found, "data": data})
        if answer.status in {_CONFLICT, _NOT_FOUND}:
            raise self._conflict()
        return _revision(self._decoded(answer))

    async def _read(self) -> dict[str, Any] | None:
        answer = await self._request("GET", self._path)
        return None if answer.status == _NOT_FOUND else self._decoded(answer)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        encoded = None if body is None else json.dumps(body).encode()
        try:
            return await self._client.request(method, path, body=encoded)
        # From None: an error of a client may carry the request, and with it the keys.
        except ClusterError as error:
            raise KeyStoreError(f"cannot use {self.reference}: {error}") from None

    def _decoded(self, answer: Answer) -> dict[str, Any]:
        try:
            require_success(answer)
        except ClusterError as error:
            raise KeyStoreError(f"cannot use {self.reference}: {error}") from None
        try:
            found: dict[str, Any] = json.loads(answer.body)
            found["metadata"]["resourceVersion"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise KeyStoreError(f"the answer for {self.reference} is not a Secret") from None
        return found

    def _entry(self, found: dict[str, Any]) -> bytes:
        """Return the document in a Secret; whatever is not ours is never replaced."""
        try:
            if found["type"] != TYPE:
                raise KeyStoreError(f"{self.reference} is a Secret of another kind")
            return base64.b64decode(found["data"][_ENTRY], validate=True)
        except (ValueError, TypeError, KeyError):
            raise KeyStoreError(f"{self.reference} holds no authorities") from None

    def _conflict(self) -> KeyStoreConflictError:
        return KeyStoreConflictError(f"{self.reference} has changed since it was read")

    @property
    def _path(self) -> str:
        return secrets_path(self._namespace, self._name)


def _revision(found: dict[str, Any]) -> str:
    return str(found["metadata"]["resourceVersion"])
