"""The API's own pages, /docs (Swagger UI) and /redoc (ReDoc), with every file they need served from here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks._version import __version__

PREFIXES = ("docs", "redoc", "docs-assets")  # the first path segments that the pages own

_PACKAGE = "fastapi_standalone_docs"  # only its files are used: importing it would patch FastAPI
_OWN_FILES = Path(__file__).parent / "docs_assets"
# A new version of either package gives new addresses, so browsers may keep what they have for good.
_KEEP = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
# The browser itself refuses anything from elsewhere, and scripts that a description might smuggle in. Both pages make
# style elements at run time; ReDoc searches in a worker that it builds from a blob.
_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_SWAGGER = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{assets}/favicon.svg">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-openapi="{openapi}"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script src="{assets}/start.js"></script>
</body>
</html>
"""
_REDOC = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{assets}/favicon.svg">
<style>body {{ margin: 0; }}</style>
</head>
<body>
<redoc spec-url="{openapi}"></redoc>
<script src="{assets}/redoc.standalone.js"></script>
</body>
</html>
"""


def docs_app(*, title: str = "Hayhooks", openapi_path: str = "/openapi.json") -> ASGIApp:
    """Make an ASGI app that answers everything below `PREFIXES`.

    Links carry the request's root path, so the pages work behind a prefix. The pages are left out of the schema
    and hold no data: everything shown comes from *openapi_path*, which the browser fetches with the caller's rights.

    Args:
        title: Shown in the browser's tab.
        openapi_path: Where the server answers its schema, without root path.
    """
    files = _files()
    assets = f"/docs-assets/{version('fastapi-standalone-docs')}-{__version__}"
    pages = {"/docs": (_SWAGGER, f"{title} - API"), "/redoc": (_REDOC, f"{title} - API reference")}

    def response(scope: Scope) -> Response:
        root = scope.get("root_path", "").rstrip("/")
        # Servers and mounts differ in whether the path still carries the root path.
        path = scope["path"].removeprefix(root) if scope["path"].startswith(f"{root}/") else scope["path"]
        page = pages.get(path.rstrip("/"))
        file = files.get(path.removeprefix(f"{assets}/")) or _beside_redoc(path, files)
        if (page or file) and scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET is answered here.", 405, {"allow": "GET, HEAD"})
        if file:
            return FileResponse(file, headers=_KEEP, media_type=_media_type(file))
        if not page:
            return PlainTextResponse("Not found.", 404)
        html, page_title = page
        fields = {"title": page_title, "assets": root + assets, "openapi": root + openapi_path}
        return HTMLResponse(html.format_map({k: escape(v) for k, v in fields.items()}), headers=_PAGE_HEADERS)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response(scope)(scope, receive, send)

    return app


def _files() -> Mapping[str, Path]:
    """Every file that is served, by name. Nothing else in either folder can be asked for."""
    spec = find_spec(_PACKAGE)
    assert spec
    assert spec.origin
    static = Path(spec.origin).parent / "static"
    return {
        "swagger-ui-bundle.js": static / "swagger" / "swagger-ui-bundle.js",
        "swagger-ui.css": static / "swagger" / "swagger-ui.css",
        "swagger-ui.LICENSE": static / "swagger" / "LICENSE",
        "redoc.standalone.js": static / "redoc" / "redoc.standalone.js",
        "redoc.standalone.js.LICENSE.txt": static / "redoc" / "redoc.standalone.js.LICENSE.txt",
        "logo-mini.svg": static / "redoc" / "logo-mini.svg",
        "start.js": _OWN_FILES / "start.js",
        "favicon.svg": _OWN_FILES / "favicon.svg",
    }


def _beside_redoc(path: str, files: Mapping[str, Path]) -> Path | None:
    # The packaged ReDoc looks for this one file, its maker's logo, below its own page.
    return files["logo-mini.svg"] if path == "/redoc/logo-mini.svg" else None


def _media_type(file: Path) -> str:
    # Not by the machine's own table: with nosniff, a script of the wrong type does not run.
    known = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    return known.get(file.suffix, "text/plain")
