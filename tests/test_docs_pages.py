"""The API pages work without the internet, behind a prefix, and under a strict content security policy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from hayhooks.server.docs_pages import PREFIXES, docs_app

SCHEMA = {
    "openapi": "3.1.0",
    "info": {"title": "Demonstration", "version": "1"},
    "paths": {
        "/greeter/run": {
            "post": {
                "operationId": "run_greeter",
                "summary": "Greets a person by name",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Greeting"}}}},
                "responses": {"200": {"description": "The greeting"}},
            }
        }
    },
    "components": {"schemas": {"Greeting": {"type": "object", "properties": {"name": {"type": "string"}}}}},
}


class References(HTMLParser):
    """Collects every address that a page refers to, and its inline scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline_scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += [value for name in ("src", "href", "data-openapi", "spec-url") if (value := values.get(name))]
        self.inline_scripts += tag == "script" and "src" not in values


@pytest.fixture
def client() -> TestClient:
    return TestClient(docs_app(title="Hayhooks"))


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/docs/", "/redoc/"])
def test_a_page_refers_only_to_files_of_this_server(client: TestClient, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in re.sub(r"<!DOCTYPE[^>]*>", "", answer.text)
    references = References(answer.text)
    assert not references.inline_scripts
    assert "/openapi.json" in references.found
    for address in set(references.found) - {"/openapi.json"}:
        asset = client.get(address)
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_is_revalidated_and_forbids_the_browser_to_load_from_elsewhere(client: TestClient, page: str) -> None:
    headers = client.get(page).headers
    assert headers["cache-control"] == "no-cache"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy


def test_stylesheets_name_no_other_address(client: TestClient) -> None:
    (css,) = (a for a in References(client.get("/docs").text).found if a.endswith(".css"))
    addresses = re.findall(r"url\(\s*[\"']?([^\"')]{0,20})", client.get(css).text)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "@import" not in client.get(css).text


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_links_carry_the_root_path(page: str) -> None:
    behind_a_prefix = TestClient(docs_app(openapi_path="/openapi.json"), root_path="/api/v2")
    for path in (f"/api/v2{page}", page):  # servers differ in whether the prefix is still on the path
        found = References(behind_a_prefix.get(path).text).found
        assert "/api/v2/openapi.json" in found
        assert all(address.startswith("/api/v2/") for address in found)
        assert all(behind_a_prefix.get(a).status_code == 200 for a in found if "docs-assets" in a)


def test_titles_are_text_not_markup() -> None:
    html = TestClient(docs_app(title="<script>alert(1)</script>")).get("/docs").text
    assert "<script>alert" not in html


@pytest.mark.parametrize(
    "path",
    ["/docs/x", "/docs-assets/", "/docs-assets/start.js", "/docs-assets/%2e%2e/docs_pages.py", "/redoc/start.js"],
)
def test_nothing_but_the_listed_files_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_only_reading_is_answered(client: TestClient) -> None:
    assert client.head("/docs").status_code == 200
    refused = client.post("/docs")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD"


def test_licences_of_the_bundled_files_are_served_beside_them(client: TestClient) -> None:
    assets = References(client.get("/docs").text).found[0].rpartition("/")[0]
    assert "Apache License" in client.get(f"{assets}/swagger-ui.LICENSE").text
    assert "MIT" in client.get(f"{assets}/redoc.standalone.js.LICENSE.txt").text


def test_the_pages_leave_fastapi_as_it_is() -> None:
    code = (
        "import sys, hayhooks.server.docs_pages as d; d.docs_app(); "
        "sys.exit('fastapi' in sys.modules or 'fastapi_standalone_docs' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Site:
    """The pages and a schema on a free port, with a record of what was asked for."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        pages = docs_app()

        async def schema(_: Request) -> JSONResponse:
            return JSONResponse(SCHEMA)

        app = Starlette(routes=[Route("/openapi.json", schema), Mount("/", pages)])

        async def recording(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.requested.append(scope["path"])
            await app(scope, receive, send)

        self.server = uvicorn.Server(uvicorn.Config(recording, port=0, log_level="error", lifespan="off"))


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    site = Site()
    started = threading.Event()
    startup = site.server.startup

    async def startup_and_tell(sockets: object = None) -> None:
        await startup(sockets)  # type: ignore[arg-type]
        started.set()

    site.server.startup = startup_and_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=site.server.run)
    thread.start()
    assert started.wait(20)
    port = site.server.servers[0].sockets[0].getsockname()[1]
    yield site, f"http://127.0.0.1:{port}"
    site.server.should_exit = True
    thread.join()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_browser_shows_the_schema_under_the_policy(site: tuple[Site, str], page: str, tmp_path: Path) -> None:
    record, base = site
    assert CHROMIUM
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=15000", f"--user-data-dir={tmp_path}", "--dump-dom"]
    shown = subprocess.run([CHROMIUM, *flags, base + page], capture_output=True, text=True, timeout=120, check=True)
    assert "Greets a person by name" in shown.stdout
    assert "Content Security Policy" not in shown.stderr
    assert {urlsplit(path).path.split("/")[1] for path in record.requested} <= {*PREFIXES, "openapi.json"}
