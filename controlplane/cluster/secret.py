"""Secrets of ours as the API server takes them: a name and entries in, a path and an object out."""

import base64
from collections.abc import Mapping
from typing import Any


def secrets_path(namespace: str, name: str = "") -> str:
    """Return where the Secret ``name`` is, or without one where all of ``namespace`` are."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    return f"{path}/{name}" if name else path


def encoded_entries(entries: Mapping[str, bytes]) -> dict[str, str]:
    """Return ``entries`` as they stand under ``data``."""
    return {name: base64.b64encode(entry).decode() for name, entry in entries.items()}


def new_secret(
    namespace: str,
    name: str,
    entries: Mapping[str, bytes],
    *,
    kind: str,
    is_immutable: bool = False,
) -> dict[str, Any]:
    """Return a Secret of the type ``kind`` that holds ``entries`` and says whose it is."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "istiod-lite"},
        },
        "type": kind,
        **({"immutable": True} if is_immutable else {}),
        "data": encoded_entries(entries),
    }
