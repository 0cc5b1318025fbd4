"""Templates and what they may call: values in, HTML out, everything in it escaped."""

import asyncio
import shlex
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final, NamedTuple
from unicodedata import category
from urllib.parse import quote, urlencode

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from controlplane.clock import Clock
from controlplane.insight.sync import age_text

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content security policy: nothing from elsewhere, nothing inside the page itself."""

_SLICE: Final = 250
"""Pieces of a page made between two chances for the event loop."""

_TONES: Final[Mapping[str, str]] = {
    "SYNCED": "good",
    "STALE": "warn",
    "NOT SENT": "warn",
    "ERROR": "bad",
    "IGNORED": "calm",
    "": "calm",
    "Healthy": "good",
    "Unhealthy": "bad",
    "Allow": "good",
    "Deny": "bad",
    "error": "bad",
    "warning": "warn",
    "info": "calm",
    "ACTIVE": "good",
    "PUBLISHED": "good",
    "PREPARED": "calm",
    "RETIRING": "warn",
    "REMOVED": "calm",
    "FAILED": "bad",
    "TAINTED": "bad",
}


NOTHING: Final = "\N{EN DASH}"
"""What stands where there is nothing to say."""


class Asset(NamedTuple):
    """A file the page is made of: its bytes, what they are, and a name for this version."""

    body: bytes
    media_type: str
    version: str


def _asset(name: str, media_type: str) -> Asset:
    body = (files("controlplane.admin.page") / "static" / name).read_bytes()
    return Asset(body, media_type, blake2b(body, digest_size=6).hexdigest())


def read_assets() -> dict[str, Asset]:
    """Return the page's own files by name."""
    return {
        "page.css": _asset("page.css", "text/css; charset=utf-8"),
        "page.js": _asset("page.js", "text/javascript; charset=utf-8"),
        "icon.svg": _asset("icon.svg", "image/svg+xml"),
    }


class Renderer:
    """Renders templates. ``globals_`` are what every one of them may show."""

    def __init__(self, clock: Clock, assets: Mapping[str, Asset], **globals_: object) -> None:
        self._clock = clock
        environment = Environment(
            loader=PackageLoader("controlplane.admin.page"),
            autoescape=True,
            finalize=_visible,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(
            ago=self._ago,
            seconds=seconds_text,
            tone=lambda state: _TONES.get(state, "calm"),
            part=lambda text: quote(text, safe=""),
            path=lambda text: quote(text, safe="/"),
            thousands=lambda number: f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
            moment=lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
            breakable=_breakable,
            shell=_shell,
        )
        environment.globals.update(
            asset=lambda name: f"/page/{name}?v={assets[name].version}",
            query_text=query_text,
            **globals_,
        )
        self._environment = environment

    async def page(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """Return the page that ``template`` makes of ``values``, made with breathing points."""
        parts: list[str] = []
        for part in self._environment.get_template(template).generate(values):
            parts.append(part)
            if len(parts) % _SLICE == 0:
                await asyncio.sleep(0)
        text = "".join(parts)
        return HTMLResponse(
            text,
            status_code=status,
            headers={
                "content-security-policy": POLICY,
                "cache-control": "no-store",
                **(headers or {}),
            },
        )

    def _ago(self, moment: datetime | None) -> str:
        if moment is None:
            return NOTHING
        seconds = (self._clock.now() - moment).total_seconds()
        return f"in {age_text(-seconds)}" if seconds < 0 else f"{age_text(seconds)} ago"


def query_text(query: BaseModel, **changes: object) -> str:
    """Return a query as a part of an address: what is not set, or as it is by itself, left out."""
    values = {**query.model_dump(mode="json", exclude_defaults=True), **changes}
    told = {name: value for name, value in values.items() if value not in ("", None)}
    return f"?{urlencode(told)}" if told else ""


def seconds_text(seconds: float | None) -> str:
    """Return a duration for people."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return age_text(seconds)


def _visible(value: object) -> object:
    """Return what is put in a page; text with codes for what cannot be seen, or turns lines."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(
        each
        if each.isprintable() or each in "\n\t" or category(each) == "Zs"
        else f"\\u{ord(each):04x}"
        for each in value
    )


def _shell(text: str) -> str:
    """Return ``text`` as one word of a command, whatever is in it: commands are pasted."""
    return shlex.quote("".join(each if each.isprintable() else "?" for each in text))


def _breakable(text: str) -> Markup:
    """Return ``text`` with places where a line may end: behind slashes, dots and colons."""
    escaped = str(Markup.escape(_visible(text)))
    for mark in ("/", ".", ":", "@"):
        escaped = escaped.replace(mark, f"{mark}<wbr>")
    return Markup(escaped)  # noqa: S704 - escaped above
