"""Settings of the process in, settings of the mesh rules out."""

from dataclasses import fields

from controlplane.mesh.settings import MeshSettings
from controlplane.settings import Settings


def mesh_settings(settings: Settings, *, expands: bool) -> MeshSettings:
    """Return what the mesh rules need of ``settings``; both use the same names.

    ``expands`` is decided by the source: True where no cluster makes pods of Deployments.
    """
    shared = [field.name for field in fields(MeshSettings) if field.name != "expands"]
    return MeshSettings(expands=expands, **{name: getattr(settings, name) for name in shared})
