"""Python from protos: ``api/protos/*.proto`` in, ``controlplane/pb/`` out.

The files are compiled under the import path ``controlplane/pb``, so that generated modules find
each other as ordinary package modules and their names in the process-wide descriptor pool clash
with nobody's. ``--check`` writes nothing and fails when what is there differs from what would be
written.
"""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "api" / "protos"
IMPORT_PATH = "controlplane/pb"
WITH_SERVICES = frozenset({"certificate.proto"})
MARKER = '"""Generated from api/protos by scripts/generate_protos.py: never edited."""\n'


def generated(directory: Path) -> dict[str, str]:
    """Compile every proto into ``directory``; return file name -> text, ``__init__`` included."""
    for proto in sorted(PROTOS.glob("*.proto")):
        arguments = [
            "protoc",
            f"--proto_path={IMPORT_PATH}={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={directory}",
            f"--pyi_out={directory}",
        ]
        if proto.name in WITH_SERVICES:
            arguments.append(f"--grpc_python_out={directory}")
        if protoc.main([*arguments, f"{IMPORT_PATH}/{proto.name}"]) != 0:
            sys.exit(f"{proto.name}: protoc failed")
    written = (directory / IMPORT_PATH).iterdir()
    return {"__init__.py": MARKER} | {path.name: path.read_text("utf-8") for path in written}


def main() -> int:
    """Write or compare; return the exit code (1: the checked files are out of date)."""
    parser = argparse.ArgumentParser(description="Generate controlplane/pb from api/protos.")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args().check
    target = ROOT / IMPORT_PATH
    with tempfile.TemporaryDirectory() as directory:
        wanted = generated(Path(directory))
    found = {path.name: path.read_text("utf-8") for path in target.glob("*.py*") if path.is_file()}
    stale = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if check:
        for name in stale:
            sys.stderr.write(f"{IMPORT_PATH}/{name}: differs from api/protos, run make protos\n")
        return 1 if stale else 0
    target.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (target / name).write_text(wanted[name], "utf-8")
        else:
            (target / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
