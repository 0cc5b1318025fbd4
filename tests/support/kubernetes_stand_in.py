"""Programs that stand in for etcd and kube-apiserver, to try what starts those.

``write_programs`` makes a folder such as ``KUBEBUILDER_ASSETS`` names. Both write down the
arguments they were given; the API server is the double, over TLS with the files they name.
"""

import asyncio
import http.server
import json
import sys
from pathlib import Path

from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_keys import server_context

NAMES = ("etcd", "kube-apiserver")
_ROOT = Path(__file__).parents[2]


def write_programs(folder: Path) -> Path:
    for name in NAMES:
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(_ROOT)!r})\n"
            f"from tests.support.kubernetes_stand_in import main\nmain({name!r}, {str(folder)!r})\n"
        )
        program.chmod(0o700)
    return folder


def arguments_of(folder: Path, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / f"{name}.json").read_text())
    return found


def main(name: str, folder: str) -> None:
    pairs = (each.removeprefix("--").partition("=") for each in sys.argv[1:])
    arguments = {key: value for key, _, value in pairs}
    (Path(folder) / f"{name}.json").write_text(json.dumps(arguments))
    if name == "etcd":
        port = int(arguments["listen-client-urls"].rpartition(":")[2])
        http.server.HTTPServer(("127.0.0.1", port), _Healthy).serve_forever()
    asyncio.run(_serve(arguments))


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


async def _serve(arguments: dict[str, str]) -> None:
    context = server_context(
        Path(arguments["tls-cert-file"]),
        Path(arguments["tls-private-key-file"]),
        Path(arguments["client-ca-file"]),
        asks_clients=True,
    )
    api = KubernetesApi(tls=context, port=int(arguments["secure-port"]))
    for name in ("default", "kube-system"):
        api.objects.write("namespaces", ("", name), {})
    async with api:
        await asyncio.Event().wait()
