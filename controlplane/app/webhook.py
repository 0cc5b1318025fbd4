"""The validating webhook of one process: the committed mesh in, verdicts on its port out.

Every replica judges, whoever leads. Its certificate is our own and never a given one: the API
server verifies it with the trusted roots, which the leader tells it.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from controlplane.admission.application import Admission
from controlplane.admission.errors import UnusableCertificateError
from controlplane.admission.judgement import Judge
from controlplane.admission.server import AdmissionServer
from controlplane.app.certificates import Certificates
from controlplane.app.errors import StartupError
from controlplane.app.mesh import Mesh
from controlplane.ca.errors import AuthorityError
from controlplane.clock import Clock
from controlplane.metrics import ClusterMetrics
from controlplane.pipeline.configuration import mesh_settings
from controlplane.settings import Settings

Works = dict[str, Coroutine[Any, Any, None]]


class AdmissionObservation:
    """Counts reviews under istiod's names; an ``AdmissionObserver`` of ``admission``."""

    def __init__(self, metrics: ClusterMetrics) -> None:
        self._metrics = metrics

    def passed(self, group: str, resource: str, /) -> None:
        """Count an object that was allowed."""
        self._metrics.validations_passed.labels(group=group, resource=resource).inc()

    def failed(self, group: str, resource: str, reason: str, /) -> None:
        """Count an object that was refused."""
        self._metrics.validations_failed.labels(group=group, resource=resource, reason=reason).inc()

    def http_error(self, status: int) -> None:
        """Count a request that got no verdict."""
        self._metrics.validation_errors.labels(status=str(status)).inc()


async def open_webhook(
    settings: Settings,
    clock: Clock,
    metrics: ClusterMetrics,
    mesh: Mesh,
    certificates: Certificates,
    host: str,
) -> tuple[AdmissionServer, Works]:
    """Return the server, listening, and what has to run for it.

    Raises:
        StartupError: the port is taken, or there is no certificate for it.
    """
    admission = Admission(
        Judge(mesh.pipeline, mesh_settings(settings, expands=False)),
        observer=AdmissionObservation(metrics),
        is_ready=lambda: mesh.is_complete,
        clock=clock,
    )
    serving = certificates.serving()
    try:
        first = await serving.issue()
        server = AdmissionServer(
            admission.application(),
            host=host,
            port=settings.webhook_port,
            chain_pem=first.chain,
            key_pem=first.key,
        )
    except (AuthorityError, UnusableCertificateError, OSError) as error:
        raise StartupError(f"the webhook cannot be served: {error}") from error
    install: Callable[[bytes, bytes], None] = server.replace
    return server, {"webhook": server.run(), "webhook certificate": serving.run(install)}
