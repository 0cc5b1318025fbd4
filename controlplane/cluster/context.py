"""Which namespace a command means when it names none: a location in, a name out."""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from controlplane.cluster.api_server import ClusterLocation
from controlplane.cluster.errors import ClusterConfigurationError

_POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT: Final = "default"


async def context_namespace(location: ClusterLocation) -> str:
    """Return the namespace of the kubeconfig's context, or of the pod; ``default`` for neither.

    Raises:
        ClusterConfigurationError: the configuration is missing or unusable.
    """
    return await asyncio.to_thread(_read, location)


def _read(location: ClusterLocation) -> str:
    if location.is_in_pod:
        return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else _DEFAULT
    import yaml
    from kubernetes.aio import config

    package: Any = config  # it declares no types
    files = os.pathsep.join(str(path) for path in location.files())
    try:
        contexts, current = package.list_kube_config_contexts(files)
        named = current if location.context is None else _named(contexts, location.context)
        return str(named["context"].get("namespace") or _DEFAULT)
    except config.ConfigException as error:
        raise ClusterConfigurationError(str(error)) from None
    # Only the sort of the error is told: parsers quote what they read, which may be a token.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise ClusterConfigurationError(
            f"the configuration is unusable: {type(error).__name__}"
        ) from None


def _named(contexts: Any, name: str) -> Any:
    for each in contexts:
        if each["name"] == name:
            return each
    raise ClusterConfigurationError(f'the configuration has no context "{name}"')
