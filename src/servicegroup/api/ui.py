"""The dashboard's files as they go out: one table, read once, with a policy that trusts nothing.

The page may load its own scripts and styles, share one of them with the browser's other pages as a
worker, and call this API, and nothing else; whatever text the register holds, none of it can become
code. Browsers keep the files and ask whether they changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
from starlette.requests import Request

from servicegroup.api import faults
from servicegroup.api.call import Answer
from servicegroup.api.unchanged import has_etag

PATHS = ("/ui", "/ui/", "/ui/{name}")
"""Where the dashboard is; each takes GET and is answered by ``ui``."""

POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load, run and call: its own, and nothing else."""

SECURITY = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)
"""What every answer here says; ``no-cache`` lets a browser keep a file and makes it ask."""

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""The media type by a file's extension; a file of any other kind is not served."""

INDEX = "index.html"


class File(msgspec.Struct, frozen=True):
    """One file of the dashboard and the ETag that is its content."""

    body: bytes
    media_type: str
    etag: str


@cache
def table() -> Mapping[str, File]:
    """Return the dashboard's files by name, read from the package on first use."""
    found = {}
    for entry in files("servicegroup").joinpath("web").iterdir():
        media_type = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            found[entry.name] = File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


async def ui(request: Request) -> Answer:
    """Answer with a file of the dashboard, 304 if the browser has it, 308 from ``/ui``."""
    if request.url.path.endswith("/ui"):
        # Relative, so that it also holds behind a proxy that serves us below a prefix.
        return Answer(308, headers=(*SECURITY, ("Location", "ui/")))
    file = table().get(request.path_params.get("name", INDEX))
    if file is None:
        absent = faults.fault(404, f"{request.url.path} is not part of the dashboard.")
        return msgspec.structs.replace(absent, headers=SECURITY)
    headers = (*SECURITY, ("ETag", file.etag))
    if has_etag(request.headers.get("if-none-match", ""), file.etag):
        return Answer(304, media_type=file.media_type, headers=headers)
    return Answer(200, file.body, file.media_type, headers)
