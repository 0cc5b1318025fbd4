"""Does the webhook answer: trusted roots in, nothing or the reason why not out.

One look is a new TLS connection to where the API server would connect, verified as it would verify
it, and two reviews: one object that must be allowed, one that must be refused
(docs/protocol/admission.md AD-21).
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

import httpx

_LONGEST: Final = 64 * 1024
_UID: Final = "probe"


class Probe(Protocol):
    """Looks whether the webhook answers; ``WebhookProbe`` is one."""

    async def __call__(self, roots_pem: str) -> str:
        """Return "" if it does, verified with ``roots_pem``; else why not, in words."""
        ...


class WebhookProbe:
    """Asks the webhook at ``host`` and ``port``, whose certificate is to be for ``server_name``.

    ``namespace`` is where the objects of the questions are said to be; ``seconds`` is how long a
    whole look may take.
    """

    def __init__(
        self, *, host: str, port: int, server_name: str, namespace: str, seconds: float = 5.0
    ) -> None:
        address = f"[{host}]" if ":" in host else host
        self._url = f"https://{address}:{port}/validate"
        self._server_name = server_name
        self._namespace = namespace
        self._seconds = seconds

    async def __call__(self, roots_pem: str) -> str:
        """Return "" if the webhook answers; else why not, in words."""
        try:
            context = ssl.create_default_context(cadata=roots_pem)
            async with (
                asyncio.timeout(self._seconds),
                # The client forgets a connection that is given up while TLS is agreed upon.
                AsyncExitStack() as opened,
                httpx.AsyncClient(verify=context, trust_env=False, timeout=self._seconds) as client,
            ):
                for mode, is_good in (("STRICT", True), ("SOMETIMES", False)):
                    found = await self._ask(client, mode, opened)
                    if isinstance(found, str):
                        return found
                    if found is not is_good:
                        return f"it {'allows what is wrong' if found else 'refuses what is right'}"
        except TimeoutError:
            return f"there was no answer within {self._seconds:g} seconds"
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    async def _ask(
        self, client: httpx.AsyncClient, mode: str, opened: AsyncExitStack
    ) -> bool | str:
        """Return whether an object of ``mode`` is allowed, or what came instead of an answer.

        What it connects is closed with ``opened``.
        """

        async def note(event: str, facts: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.push_async_callback(facts["return_value"].aclose)

        async with client.stream(
            "POST",
            self._url,
            params={"probe": "true"},
            headers={"host": self._server_name, "content-type": "application/json"},
            content=_review(mode, self._namespace),
            extensions={"sni_hostname": self._server_name, "trace": note},
        ) as response:
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _LONGEST:
                    return "its answer is too long"
        if response.status_code != httpx.codes.OK:
            return f"HTTP status {response.status_code}"
        return _verdict(body)


def _review(mode: str, namespace: str) -> bytes:
    kind = {"group": "security.istio.io", "version": "v1", "kind": "PeerAuthentication"}
    name = "istiod-lite-probe"
    judged = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"mtls": {"mode": mode}},
    }
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": _UID,
            "kind": kind,
            "operation": "CREATE",
            "name": name,
            "namespace": namespace,
            "dryRun": True,
            "object": judged,
        },
    }
    return json.dumps(review).encode()


def _verdict(body: bytes) -> bool | str:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "its answer is not JSON"
    response = found.get("response") if isinstance(found, Mapping) else None
    allowed = response.get("allowed") if isinstance(response, Mapping) else None
    if not isinstance(allowed, bool) or not isinstance(response, Mapping):
        return "its answer is no AdmissionReview"
    return allowed if response.get("uid") == _UID else "its answer is to another question"
