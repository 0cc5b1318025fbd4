"""What stands in for a cluster where there is none: a watched folder, and tokens of our own."""

from controlplane.app.errors import StartupError
from controlplane.authentication.issuer_key import IssuerKeyError, load_issuer_key
from controlplane.authentication.local_issuer import LocalTokenReviews
from controlplane.clock import Clock
from controlplane.manifests.documents import Limits
from controlplane.model.names import Name
from controlplane.settings import Settings
from controlplane.snapshots.residents import Residents
from controlplane.sources.files import FilesSettings, FilesSource


def local_source(settings: Settings, clock: Clock) -> FilesSource:
    """Return the folder of the settings as a source."""
    return FilesSource(
        settings.files,
        settings=FilesSettings(
            limits=Limits(bytes=settings.max_file_bytes),
            system_namespace=settings.system_namespace,
        ),
        clock=clock,
    )


def local_reviews(settings: Settings, clock: Clock, residents: Residents) -> LocalTokenReviews:
    """Return who reviews the tokens that this data folder's key has signed.

    Raises:
        StartupError: the key cannot be used.
    """

    def uid(name: Name) -> str | None:
        pod = residents.pod(name)
        return None if pod is None else pod.uid

    try:
        issuer = load_issuer_key(settings.data_dir)
    except IssuerKeyError as error:
        raise StartupError(str(error)) from error
    return LocalTokenReviews(issuer.public_key(), clock, uid)
