"""Debug questions on state-of-the-world streams: answered as the admin side answers them.

Rules: docs/protocol/fleet.md FL-20 to FL-26 for the streams, docs/protocol/admin.md AM-10 to AM-12
for who may see what.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from google.protobuf.any_pb2 import Any

from controlplane.admin.debug.documents import DebugDocuments
from controlplane.admin.errors import AdminError, NotAllowedError
from controlplane.admin.reading.connections import visible
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.authentication.caller import Caller
from controlplane.clock import Clock
from controlplane.insight.client_config import client_config, control_plane_identifier
from controlplane.model.connection import Connection
from controlplane.xds.debug import DEBUG_TYPE, DebugQuestion
from controlplane.xds.errors import ForbiddenError, MalformedRequestError

_SYNC: Final = "syncz"


class StreamAnswers:
    """Answers for ``xds.XdsServer.answer_debug``.

    Where nobody is asked who they are (plaintext, this machine only) everything is answered.
    """

    def __init__(
        self,
        documents: DebugDocuments,
        clock: Clock,
        *,
        replica: str,
        version: str,
        root_namespaces: Callable[[], Collection[str]],
    ) -> None:
        self.identifier = control_plane_identifier(replica, version)
        self._documents = documents
        self._clock = clock
        self._root_namespaces = root_namespaces

    async def answer(self, question: DebugQuestion, caller: Caller | None) -> Sequence[bytes]:
        """Return the resources of the answer, each an encoded ``google.protobuf.Any``.

        Raises:
            ForbiddenError: the caller may not ask this.
            MalformedRequestError: nobody knows such a question, or it lacks something.
        """
        viewer = self._viewer(caller)
        parameters = dict(question.parameters)
        try:
            if question.name == _SYNC and not question.is_text:
                return await self._statuses(viewer, question)
            pieces = await self._documents.answer(question.name, parameters, viewer)
            text = b"".join([piece async for piece in pieces])
        except NotAllowedError as error:
            raise ForbiddenError(str(error)) from error
        except AdminError as error:
            raise MalformedRequestError(str(error)) from error
        packed = Any(type_url=DEBUG_TYPE, value=text)
        return [bytes(packed.SerializeToString())]

    async def _statuses(self, viewer: Viewer, question: DebugQuestion) -> list[bytes]:
        now = self._clock.now()
        wanted = dict(question.parameters).get("proxyID", "")
        return [
            client_config(connection, now)
            for connection in await self._documents.connected()
            if visible(viewer, connection) and _is(connection, wanted, question.resources)
        ]

    def _viewer(self, caller: Caller | None) -> Viewer:
        if caller is None:
            return EVERYTHING
        sees_all = caller.namespace in self._root_namespaces()
        return Viewer(
            name=f"service account {caller.account}",
            namespace=None if sees_all else caller.namespace,
        )


def _is(connection: Connection, proxy: str, names: Sequence[str]) -> bool:
    """Return whether a connection is among those asked for; without a name all are."""
    asked = [each for each in (proxy, *names) if each]
    return not asked or any(each in connection.node_id for each in asked)
