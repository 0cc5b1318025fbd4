"""Commands as users call them, against an admin application that is really served on loopback."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from typer.testing import CliRunner, Result

from controlplane.admin.server import AdminServer
from controlplane.cli.main import application

_AGE = re.compile(r"\d+(?:s|m|h|d)(?:\d+(?:s|m))?")


@contextmanager
def served(admin: FastAPI) -> Iterator[str]:
    """Serve ``admin`` from a thread of its own; return its URL."""
    server = AdminServer(admin, host="127.0.0.1", port=0)
    thread = threading.Thread(target=lambda: asyncio.run(server.run()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        thread.join(15)
        assert not thread.is_alive()


def run(*arguments: str, server: str = "", stdin: str | None = None) -> Result:
    """Run a command; ``server`` is what ISTIOD_LITE_SERVER says."""
    environment = {"ISTIOD_LITE_SERVER": server or None, "ISTIOD_LITE_TOKEN": None}
    return CliRunner().invoke(application, arguments, env=environment, input=stdin)


def without_ages(text: str) -> str:
    """Return output with every age, of however many blanks, as ``AGE``."""
    ages = re.sub(rf"\({_AGE.pattern}\)", "(AGE)", text)
    return re.sub(rf"{_AGE.pattern} ago", "AGE ago", ages)


def cells(text: str) -> list[list[str]]:
    """Return the cells of a table whose columns are two blanks or more apart."""
    return [re.split(r" {2,}", line) for line in text.splitlines()]
