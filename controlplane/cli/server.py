"""Asking a running server for one command: options in, answers of its API out.

What goes wrong is a ``CommandError`` in one sentence; ``answered`` prints it and exits with 1.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

import httpx
import msgspec
import typer

from controlplane.admin.admin_token import FILE_NAME
from controlplane.cli.errors import CommandError
from controlplane.cli.patience import Patience
from controlplane.cli.tables import one_line
from controlplane.errors import IstiodLiteError

DEFAULT: Final = "http://127.0.0.1:15014"

_PAGE: Final = 500
_SECONDS: Final = 30.0
_SHOWN: Final = 300

ServerUrl = Annotated[
    str, typer.Option("--server", envvar="ISTIOD_LITE_SERVER", help="URL of the admin port.")
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="ISTIOD_LITE_TOKEN",
        help="Bearer token, where loopback is not trusted. Other users may see the option.",
        show_envvar=True,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="ISTIOD_LITE_TOKEN_FILE",
        help="File with the bearer token.",
        dir_okay=False,
    ),
]


class Server:
    """The API of one server."""

    def __init__(self, client: httpx.Client, *, patience: Patience | None = None) -> None:
        self._client = client
        self._patience = patience
        self._skew = 0.0

    @classmethod
    def at(
        cls,
        url: str,
        token: str | None,
        token_file: Path | None,
        *,
        patience: Patience | None = None,
    ) -> Self:
        """Return the server at ``url``; ``patience`` is shown while its answers take long.

        Proxies of the environment are not used, and redirections not followed: the token is for
        this server alone.

        Raises:
            CommandError: the URL, or the file of the token, cannot be used.
        """
        secret = _token(token, token_file)
        headers = {"accept": "application/json"}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise CommandError(f"{url} is no URL: {error}") from error
        if address.scheme not in {"http", "https"} or not address.host:
            raise CommandError(f"{url} is no URL of a server, such as {DEFAULT}")
        client = httpx.Client(base_url=address, headers=headers, timeout=_SECONDS, trust_env=False)
        return cls(client, patience=patience)

    @property
    def now(self) -> datetime:
        """Return the time by the clock of the server, as far as its answers tell."""
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + self._skew, UTC)

    def get(self, path: str, **parameters: Any) -> Any:
        """Return one answer, decoded from JSON; parameters that are None or "" are left out.

        Raises:
            CommandError: there is no answer, or it is a refusal.
        """
        given = {key: value for key, value in parameters.items() if value not in {None, ""}}
        return self._answer("GET", path, params=given)

    def pages(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the elements of a list, page after page.

        Raises:
            CommandError: as ``get``; or the pages do not end.
        """
        seen: set[str] = set()
        after = ""
        while True:
            page = self.get(path, limit=_PAGE, after=after, **parameters)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise CommandError(f"{self._client.base_url} answers {path} with something else")
            yield from page["items"]
            after = page.get("next") or ""
            if not after:
                return
            if after in seen:
                raise CommandError(f"{self._client.base_url} never comes to the end of {path}")
            seen.add(after)

    def post(self, path: str, body: Mapping[str, Any], *, seconds: float = 0.0) -> Any:
        """Return the answer to a document; ``seconds`` is how long the server may think.

        Raises:
            CommandError: there is no answer, or it is a refusal.
        """
        return self._answer("POST", path, json=dict(body), timeout=_SECONDS + seconds)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the answer to a document that replaces what is there.

        Raises:
            CommandError: there is no answer, or it is a refusal.
        """
        return self._answer("PUT", path, json=dict(body))

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _answer(self, method: str, path: str, **arguments: Any) -> Any:
        # The address without what may stand before the host: a password is not for error messages.
        where = f"{self._client.base_url.scheme}://{self._client.base_url.netloc.decode()}"
        patience = nullcontext() if self._patience is None else self._patience.waiting()
        try:
            with patience:
                response = self._client.request(method, path, **arguments)
        except httpx.ConnectError as error:
            raise CommandError(
                f"nobody answers at {where}: {error} (see --server or ISTIOD_LITE_SERVER)"
            ) from error
        except httpx.TimeoutException as error:
            raise CommandError(f"{where} does not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(f"{where} cannot be asked: {error}") from error
        self._tell_time(response)
        if response.is_success:
            try:
                return msgspec.json.decode(response.content)
            except msgspec.DecodeError as error:
                raise CommandError(f"{where} answers {path} with something else") from error
        raise CommandError(_refusal(response, where))

    def _tell_time(self, response: httpx.Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers.get("date", ""))
        except (TypeError, ValueError):
            return
        if told.tzinfo is not None:
            skew = (told - datetime.now(UTC)).total_seconds()
            # The header has whole seconds: clocks that agree to the second are one clock.
            self._skew = skew if abs(skew) > 2 else 0.0


@contextmanager
def answered(
    url: str, token: str | None, token_file: Path | None, *, shows_waiting: bool = True
) -> Iterator[Server]:
    """Give the server at ``url``, and close it; a terminal shows when its answers take long.

    Raises:
        typer.Exit: with 1, after printing why it, or what was asked of it, cannot be had.
    """
    with told_errors():
        patience = Patience("Asking the server") if shows_waiting else None
        server = Server.at(url, token, token_file, patience=patience)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def told_errors() -> Iterator[None]:
    """Print errors of ours in one sentence.

    Raises:
        typer.Exit: with 1, after an error.
    """
    try:
        yield
    except IstiodLiteError as error:
        typer.echo(f"istiod-lite: {one_line(str(error))}", err=True)
        raise typer.Exit(1) from error


def _token(token: str | None, file: Path | None) -> str:
    if token is not None and file is not None:
        raise CommandError("give either --token or --token-file")
    if file is None:
        text = token or ""
    else:
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"the token in {file} cannot be read: {error}") from error
    secret = text.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise CommandError("that is no token: it has characters no token has")
    return secret


def _near() -> str:
    """Return where an admin token lies that may be the one; it is never sent without being told.

    Whoever answers on this machine may be another user's program.
    """
    from controlplane.settings import Settings

    file = Settings().data_dir / FILE_NAME
    return f", as in --token-file {file}" if file.is_file() else ""


def _refusal(response: httpx.Response, where: str) -> str:
    """Return why the server refuses, in its own words where it has some."""
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = None
    said = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    if not isinstance(said, str):
        return f"{where} answers with status {response.status_code}"
    if len(said) > _SHOWN:
        said = f"{said[:_SHOWN]}..."
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return f"{said} (see --token and --token-file{_near()})"
    return said
