"""A real API server for tests: etcd and kube-apiserver from a folder, on loopback, gone afterwards.

``KUBEBUILDER_ASSETS`` names the folder, as other projects' test environments have it. Without it
an existing cluster is used that ``KUBECONFIG`` names; it should be one that nobody minds. There is
no kubelet and no controller here: nothing collects what nobody owns, nothing empties a namespace
that ends, and pods get their status from the tests.
"""

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.kubernetes_keys import Keys, private_pem, public_pem

ASSETS = "KUBEBUILDER_ASSETS"
_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LINES = 30


class DidNotStartError(Exception):
    """A program ended, or did not become ready; the text has its last lines."""


def why_there_is_none(*, is_asked_for: bool) -> str:
    """Return why there is no real API server, "" when there is one.

    The cluster of a ``KUBECONFIG`` is written to only by who asks for these tests by their marker:
    whoever runs all tests may have one in their environment that they work with.
    """
    if os.environ.get(ASSETS) or (is_asked_for and os.environ.get("KUBECONFIG")):
        return ""
    return f"no real API server: set {ASSETS}, or KUBECONFIG for `make test-kube`"


@contextmanager
def real_kubeconfig(folder: Path) -> Iterator[Path]:
    """Yield the kubeconfig of the real API server, started here if it has to be."""
    assets = os.environ.get(ASSETS)
    if assets:
        with started(Path(assets), folder) as kubeconfig:
            yield kubeconfig
    else:
        yield Path(os.environ["KUBECONFIG"])


@contextmanager
def started(assets: Path, folder: Path) -> Iterator[Path]:
    """Run etcd and kube-apiserver of ``assets``; yield the kubeconfig of an administrator."""
    etcd_port = _free_port()
    etcd, peers = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{_free_port()}"
    with _running(_etcd(assets, folder, etcd, peers), folder / "etcd.log") as process:
        _await_ready(process, etcd_port, "/health", folder / "etcd.log")
        keys = Keys(folder, name="admin", group="system:masters")
        account = ec.generate_private_key(ec.SECP256R1())
        (folder / "account.key").write_bytes(private_pem(account))
        (folder / "account.pub").write_bytes(public_pem(account))
        port = _free_port()
        log = folder / "kube-apiserver.log"
        with _running(_api_server(assets, folder, keys, etcd, port), log) as server:
            # /readyz waits for the hooks that make system namespaces and default roles.
            _await_ready(server, port, "/readyz", log, keys)
            yield _kubeconfig(folder / "kubeconfig", f"https://127.0.0.1:{port}", keys)


def _etcd(assets: Path, folder: Path, clients: str, peers: str) -> list[str]:
    return [
        str(assets / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        # The data does not outlive the test.
        "--unsafe-no-fsync=true",
    ]


def _api_server(assets: Path, folder: Path, keys: Keys, etcd: str, port: int) -> list[str]:
    return [
        str(assets / "kube-apiserver"),
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'api'}",
        f"--tls-cert-file={keys.certificate}",
        f"--tls-private-key-file={keys.key}",
        f"--client-ca-file={keys.root}",
        "--authorization-mode=RBAC",
        "--anonymous-auth=false",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        # It would want the tokens that a controller makes, and there is none.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={folder / 'account.key'}",
        f"--service-account-key-file={folder / 'account.pub'}",
    ]


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(
    process: "subprocess.Popen[bytes]",
    port: int,
    path: str,
    log: Path,
    keys: Keys | None = None,
) -> None:
    ends = time.monotonic() + _READY_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        with suppress(OSError, HTTPException):
            if _status(port, path, keys) == 200:
                return
        time.sleep(0.05)
    said = log.read_text(errors="replace").splitlines()[-_LINES:]
    raise DidNotStartError(f"{process.args!r} is not ready:\n" + "\n".join(said))


def _status(port: int, path: str, keys: Keys | None) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    if keys is not None:
        context = ssl.create_default_context(cafile=keys.root)
        context.load_cert_chain(keys.certificate, keys.key)
        connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _kubeconfig(path: Path, url: str, keys: Keys) -> Path:
    user: dict[str, Any] = {
        "client-certificate": str(keys.certificate),
        "client-key": str(keys.key),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "clusters": [
            {"name": "tests", "cluster": {"server": url, "certificate-authority": str(keys.root)}}
        ],
        "users": [{"name": "admin", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
