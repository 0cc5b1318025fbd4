"""Where the example manifests are: in the installed package, or beside it in a checkout."""

from pathlib import Path

import controlplane


def example_folder(name: str) -> Path:
    """Return the folder of the example ``name``.

    Raises:
        FileNotFoundError: there is no such example.
    """
    package = Path(controlplane.__file__).parent
    for root in (package / "examples", package.parent / "examples"):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"there is no example {name!r}")
