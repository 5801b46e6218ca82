"""What a web page in a real browser can do to a server on the visitor's own machine: run pipelines, and no more."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from hayhooks.testing import RunningServer, running_server
from tests.support.browser import (
    CHROMIUM,
    Request,
    answers_in,
    open_page,
    page_that_calls,
    page_with_a_form_that_posts,
)
from tests.support.loopback import LoopbackServer
from tests.support.website import Website
from tests.support.wrapper_source import deploy_body, wrapper

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("server") / "pipelines"
    (directory / "greet").mkdir(parents=True)
    (directory / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    with running_server(directory) as server:
        yield server


@pytest.fixture(scope="module")
def site() -> Iterator[Website]:
    with Website({}) as site:
        yield site


def management(url: str) -> list[Request]:
    """What an attacker would try: with and without a preflight, to change things and to read them."""
    return [
        ("POST", f"{url}/deploy_files", deploy_body("intruder"), "cors"),
        ("POST", f"{url}/deploy_files", deploy_body("intruder"), "no-cors"),
        ("POST", f"{url}/deploy-yaml", {"name": "intruder", "source_code": "components: {}"}, "cors"),
        ("POST", f"{url}/undeploy/greet", None, "cors"),
        ("POST", f"{url}/undeploy/greet", None, "no-cors"),
        ("GET", f"{url}/status", None, "cors"),
        ("GET", f"{url}/status", None, "no-cors"),
        ("GET", f"{url}/status/greet", None, "cors"),
        ("GET", f"{url}/draw/greet", None, "cors"),
    ]


def assert_nothing_was_read_or_changed(html: str, server: RunningServer) -> None:
    for answer in answers_in(html):
        assert not answer.get("text"), answer
        assert answer.get("type") in (None, "opaque"), answer
    assert httpx.get(f"{server.url}/status").json()["pipelines"] == ["greet"]


def test_a_page_at_another_origin_neither_manages_nor_reads_a_status(
    server: RunningServer, site: Website, tmp_path: Path
) -> None:
    site.pages["/attack"] = page_that_calls(management(server.url))
    assert_nothing_was_read_or_changed(open_page(site.url("/attack"), tmp_path), server)
    assert "/attack" in site.requested


def test_a_page_at_another_origin_that_calls_us_localhost_does_not_either(
    server: RunningServer, site: Website, tmp_path: Path
) -> None:
    site.pages["/attack"] = page_that_calls(management(server.url.replace("127.0.0.1", "localhost")))
    assert_nothing_was_read_or_changed(
        open_page(site.url("/attack").replace("127.0.0.1", "localhost"), tmp_path), server
    )


def test_a_page_without_an_origin_does_not_either(server: RunningServer, tmp_path: Path) -> None:
    page = page_that_calls(management(server.url))

    async def sandboxed(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"content-security-policy": "sandbox allow-scripts"}  # its requests say `Origin: null`
        await HTMLResponse(page, headers=headers)(scope, receive, send)

    with LoopbackServer(sandboxed) as site:
        assert_nothing_was_read_or_changed(open_page(site.origin, tmp_path), server)


def test_a_file_opened_in_the_browser_does_not_either(server: RunningServer, tmp_path: Path) -> None:
    page = tmp_path / "attack.html"
    page.write_text(page_that_calls(management(server.url)))
    assert_nothing_was_read_or_changed(open_page(page.as_uri(), tmp_path / "profile"), server)


def test_a_form_that_leads_to_us_does_not_either(server: RunningServer, site: Website, tmp_path: Path) -> None:
    for path in ("/deploy_files", "/undeploy/greet"):
        site.pages["/attack"] = page_with_a_form_that_posts(server.url + path)
        shown = open_page(site.url("/attack"), tmp_path)
        assert "Pages of other origins may not manage this server." in shown
        assert httpx.get(f"{server.url}/status").json()["pipelines"] == ["greet"]


def test_a_name_that_was_pointed_at_us_does_not_either(server: RunningServer, site: Website, tmp_path: Path) -> None:
    # DNS rebinding: the page and the server have one origin for the browser; only the Host header gives it away.
    port = server.url.rpartition(":")[2]
    evil = f"http://evil.test:{port}"
    rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
    for path in ("/status", "/status/greet"):
        assert "called localhost here" in open_page(evil + path, tmp_path, rules)
    # Nor by that name from a page elsewhere.
    site.pages["/rebound"] = page_that_calls(management(evil))
    html = open_page("http://first.test/rebound", tmp_path, f"{rules},MAP first.test:80 127.0.0.1:{site.port}")
    assert_nothing_was_read_or_changed(html, server)


def test_a_page_at_another_origin_runs_pipelines_as_the_settings_allow(
    server: RunningServer, site: Website, tmp_path: Path
) -> None:
    site.pages["/run"] = page_that_calls([("POST", f"{server.url}/greet/run", {"name": "page"}, "cors")])
    (answer,) = answers_in(open_page(site.url("/run"), tmp_path))
    assert answer == {"type": "cors", "status": 200, "text": '{"result":"hello page"}'}


def test_the_docs_page_of_the_server_itself_shows_what_is_deployed(server: RunningServer, tmp_path: Path) -> None:
    for page in ("/docs", "/redoc"):
        shown = open_page(server.url + page, tmp_path)
        assert "greet/run" in shown
        assert "Undeploy" in shown


def test_the_server_itself_is_no_other_origin_to_its_own_pages(server: RunningServer, tmp_path: Path) -> None:
    assert '"status":"Up!"' in open_page(f"{server.url}/status", tmp_path)
