"""Whether the mesh trusts a root of ours whose keys are nowhere: a client in, a sentence out.

A new root beside it would split the mesh in two, and nobody would have asked for that
(docs/protocol/leadership.md KY-6).
"""

import json
from typing import Final

from controlplane.ca.secret_key_store import NAME as KEYS
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.cluster.refusal import refusal_in
from controlplane.controllers.root_certificates import ENTRY, MANAGER, NAME

_NOT_FOUND: Final = 404


class LostRoot:
    """Looks for the roots that were told to ``namespace``, the control plane's own."""

    def __init__(self, client: ClusterClient, *, namespace: str, is_replaced: bool) -> None:
        self._client = client
        self._namespace = namespace
        self._is_replaced = is_replaced

    async def why_not_begin(self) -> str:
        """Return why no root must be made although there are no keys; "" where one may be."""
        if self._is_replaced:
            return ""
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{NAME}"
        try:
            answer = await self._client.request("GET", path)
        except ClusterError as error:
            return f"whether a root of ours is trusted already is not known: {error}"
        refusal = refusal_in(answer)
        if refusal is not None:
            if refusal.status == _NOT_FOUND:
                return ""
            return f"whether a root of ours is trusted already is not known: {refusal}"
        if not _is_ours(answer.body):
            return ""
        return (
            f"the mesh trusts a root of ours (ConfigMap {self._namespace}/{NAME}) whose keys are "
            f"lost. Put the Secret {self._namespace}/{KEYS} back from a backup; or set "
            "ISTIOD_LITE_REPLACES_LOST_ROOT=true to make a new root, which nobody trusts until "
            "node proxies and waypoints were started again"
        )


def _is_ours(body: bytes) -> bool:
    """Tell whether we wrote roots into a ConfigMap; one that cannot be read counts as ours."""
    try:
        found = json.loads(body)
        managers = found["metadata"].get("managedFields") or ()
        return bool((found.get("data") or {}).get(ENTRY)) and any(
            each.get("manager") == MANAGER for each in managers
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True
