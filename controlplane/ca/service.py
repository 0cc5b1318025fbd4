"""The gRPC shell of the certificate service: handlers that discovery's server carries too.

Messages cross as bytes, so that an oversized one is refused before anybody reads it; the port is
shared with discovery, whose own messages may be large.
"""

from collections.abc import Mapping
from typing import Any

import grpc

from controlplane.ca.requests import CertificateRequests

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "CreateCertificate"


def certificate_handlers(
    requests: CertificateRequests,
) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """Return the handlers to add to a ``grpc.aio`` server.

    They answer over TLS only: on a plaintext port the service does not exist.
    """

    async def create(message: bytes, context: Any) -> bytes:
        if context.auth_context().get("transport_security_type") != [b"ssl"]:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        answer = await requests.answer(message, _headers(context), context.peer())
        if isinstance(answer, bytes):
            return answer
        await context.abort(grpc.StatusCode[answer.status], answer.text)
        raise AssertionError  # aborting has raised

    return grpc.method_handlers_generic_handler(
        SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(create)}
    )


def _headers(context: Any) -> Mapping[str, tuple[str, ...]]:
    """Return the text headers of a request, each with all its values."""
    headers: dict[str, tuple[str, ...]] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            headers[key] = (*headers.get(key, ()), value)
    return headers
