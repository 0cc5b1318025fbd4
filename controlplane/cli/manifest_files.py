"""Manifest files as commands take them: paths in, manifests or all that comes of them out."""

from collections.abc import Sequence
from pathlib import Path

from controlplane.manifests.documents import Limits
from controlplane.pipeline.compilation import Compiled, compile_manifests
from controlplane.pipeline.configuration import mesh_settings
from controlplane.settings import Settings
from controlplane.sources.paths import Loaded, read_paths


def read_files(paths: Sequence[Path], settings: Settings) -> Loaded:
    """Return the manifests of files and folders; what cannot be read is a problem."""
    return read_paths(
        paths,
        limits=Limits(bytes=settings.max_file_bytes),
        system_namespace=settings.system_namespace,
    )


def compile_files(paths: Sequence[Path]) -> tuple[Loaded, Compiled]:
    """Return the manifests of files and folders, and the mesh that they make.

    Raises:
        ValueError: the settings are unusable.
    """
    settings = Settings()
    loaded = read_files(paths, settings)
    return loaded, compile_manifests(loaded.objects, mesh_settings(settings, expands=True))
