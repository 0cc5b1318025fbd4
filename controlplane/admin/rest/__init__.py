"""The versioned API, ``/api/v1``: thin routes over ``MeshView``."""
