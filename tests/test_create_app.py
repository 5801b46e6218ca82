"""``create_app()`` gives a FastAPI app: what users add to it works as in any other, beside ours."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks import create_app
from hayhooks.settings import AppSettings
from tests.support.program import free_port, running
from tests.support.wrapper_source import deploy_body, wrapper

LOCAL = "http://127.0.0.1"


@pytest.fixture
def settings(tmp_path: Path) -> AppSettings:
    directory = tmp_path / "pipelines" / "greet"
    directory.mkdir(parents=True)
    (directory / "pipeline_wrapper.py").write_text(wrapper())
    return AppSettings(pipelines_dir=str(tmp_path / "pipelines"))


@pytest.fixture
def app(settings: AppSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=LOCAL) as client:
        yield client


class Item(BaseModel):
    size: int


def test_routes_routers_and_mounts_are_answered_beside_ours(app: FastAPI) -> None:
    @app.get("/custom")
    async def custom() -> dict[str, str]:
        return {"message": "mine"}

    router = APIRouter(prefix="/shop")

    @router.post("/items/{number}")
    def item(number: int, body: Item, lang: str = "en") -> dict[str, object]:
        return {"number": number, "size": body.size, "lang": lang}

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"mounted {scope['path'].removeprefix(scope['root_path'])}")(scope, receive, send)

    app.include_router(router)
    app.mount("/files-of-mine", mounted)
    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/custom").json() == {"message": "mine"}
        assert client.post("/shop/items/3?lang=de", json={"size": 1}).json() == {"number": 3, "size": 1, "lang": "de"}
        assert client.post("/shop/items/x", json={"size": 1}).status_code == 422
        assert client.post("/custom").status_code == 405
        assert client.get("/files-of-mine/a.txt").text == "mounted /a.txt"
        assert client.get("/nothing").status_code == 404
        assert client.post("/greet/run", json={"name": "x"}).json() == {"result": "hello x"}
        assert client.get("/status").json()["pipelines"] == ["greet"]


def test_a_route_of_the_user_wins_on_its_path_and_method_and_leaves_the_others(app: FastAPI) -> None:
    @app.get("/greet/run")
    def about() -> str:
        return "how to call it"

    @app.post("/shadowed/run")
    def mine() -> str:
        return "mine"

    @app.get("/status")
    def status() -> str:
        return "fine"

    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/greet/run").json() == "how to call it"
        assert client.post("/greet/run", json={}).json() == {"result": "hello world"}
        assert client.get("/status").json() == "fine"
        assert client.get("/status/greet").json()["pipeline"] == "greet"
        assert client.post("/deploy_files", json=deploy_body("shadowed")).status_code == 200
        assert client.post("/shadowed/run", json={}).json() == "mine"


def test_a_route_that_matches_everything_of_one_method_leaves_our_other_methods(app: FastAPI) -> None:
    @app.get("/{path:path}")
    def page(path: str) -> str:
        return f"page {path}"

    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/anything/at/all").json() == "page anything/at/all"
        assert client.post("/greet/run", json={}).json() == {"result": "hello world"}
        assert client.post("/undeploy/greet").status_code == 200


def test_a_route_added_while_the_server_runs_is_answered_and_documented(app: FastAPI, client: TestClient) -> None:
    assert client.get("/late").status_code == 404
    assert "/late" not in client.get("/openapi.json").json()["paths"]

    @app.get("/late")
    def late() -> str:
        return "here"

    assert client.get("/late").json() == "here"
    assert "/late" in client.get("/openapi.json").json()["paths"]

    router = APIRouter()

    @router.get("/later")
    def later() -> str:
        return "here"

    app.include_router(router, prefix="/even")
    assert client.get("/even/later").json() == "here"
    assert "/even/later" in app.openapi()["paths"]

    @router.get("/latest")  # after its router was included
    def latest() -> str:
        return "here, too"

    assert client.get("/even/latest").json() == "here, too"
    assert "/even/latest" in app.openapi()["paths"]


def test_middleware_sees_our_requests_and_can_change_the_answers(app: FastAPI) -> None:
    seen: list[str] = []

    @app.middleware("http")
    async def recording(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        seen.append(f"{request.method} {request.url.path}")
        response = await call_next(request)
        response.headers["x-seen"] = str(len(seen))
        return response

    class Closed:
        def __init__(self, app: ASGIApp, paths: tuple[str, ...]) -> None:
            self.app, self.paths = app, paths

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] in self.paths:
                await PlainTextResponse("closed", 451)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    app.add_middleware(Closed, paths=("/redoc",))
    with TestClient(app, base_url=LOCAL) as client:
        assert client.post("/greet/run", json={}).headers["x-seen"] == "1"
        assert client.get("/status").headers["x-seen"] == "2"
        assert client.get("/nowhere").headers["x-seen"] == "3"
        assert client.get("/redoc").status_code == 451
    assert seen == ["POST /greet/run", "GET /status", "GET /nowhere"]


def test_a_broken_middleware_is_answered_with_500_and_an_own_handler_of_500_is_used(app: FastAPI) -> None:
    async def broken(request: Request, call_next: object) -> Response:
        raise RuntimeError("boom")

    app.add_middleware(BaseHTTPMiddleware, dispatch=broken)

    @app.exception_handler(Exception)
    async def sorry(request: Request, error: Exception) -> Response:
        return JSONResponse({"sorry": type(error).__name__}, 500)

    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
        answer = client.post("/greet/run", json={})
    assert (answer.status_code, answer.json()) == (500, {"sorry": "RuntimeError"})


def test_exception_handlers_and_dependencies_of_the_user_serve_the_users_routes(app: FastAPI) -> None:
    class OutOfStock(Exception):
        pass

    @app.exception_handler(OutOfStock)
    async def handle(request: Request, error: OutOfStock) -> Response:
        return JSONResponse({"error": "out of stock"}, 418)

    closed: list[str] = []

    async def session() -> AsyncIterator[str]:
        yield "session"
        closed.append("session")

    @app.get("/stock")
    async def stock(session: str = Depends(session)) -> None:
        raise OutOfStock

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
        answer = client.get("/stock")
        assert (answer.status_code, answer.json()) == (418, {"error": "out of stock"})
        assert client.get("/broken").status_code == 500
        assert client.post("/greet/run", json={"name": 5}).status_code == 422


def test_a_websocket_route_is_served(app: FastAPI) -> None:
    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text() + "!")
        await socket.close()

    with TestClient(app, base_url=LOCAL) as client, client.websocket_connect("/echo") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello!"


def test_the_openapi_document_has_the_users_routes_and_ours(app: FastAPI) -> None:
    @app.post("/custom/{number}", tags=["mine"])
    def custom(number: int, body: Item) -> Item:
        return body

    @app.get("/greet/run")
    def about() -> str:
        return ""

    with TestClient(app, base_url=LOCAL) as client:
        document = client.get("/openapi.json").json()
        assert app.openapi() == document
        assert document["paths"]["/custom/{number}"]["post"]["tags"] == ["mine"]
        assert "Item" in document["components"]["schemas"]
        assert set(document["paths"]["/greet/run"]) == {"get", "post"}
        assert document["paths"]["/status"]["get"]["operationId"] == "status_all"
        assert client.get("/docs").status_code == 200


def test_openapi_before_the_start_has_the_users_routes(app: FastAPI) -> None:
    @app.get("/custom")
    def custom() -> str:
        return ""

    paths = app.openapi()["paths"]  # as a build step does that writes the document to a file
    assert "/custom" in paths
    assert "/status" in paths
    assert "/greet/run" not in paths


def test_an_openapi_function_of_the_users_takes_the_place_of_ours(app: FastAPI) -> None:
    ours = app.openapi

    def mine() -> dict[str, object]:
        return {**ours(), "x-logo": "mine.svg"}

    app.openapi = mine  # type: ignore[method-assign]
    with TestClient(app, base_url=LOCAL) as client:
        document = client.get("/openapi.json").json()
    assert document["x-logo"] == "mine.svg"
    assert "/greet/run" in document["paths"]


def test_the_users_lifespan_runs_inside_ours(settings: AppSettings) -> None:
    app = create_app(settings)
    happened: list[str] = []
    ours = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with ours(app) as state:
            happened.append("start")
            yield {**(state or {}), "greeting": "from the state"}
            happened.append("stop")

    app.router.lifespan_context = lifespan

    @app.get("/state")
    def of_state(request: Request) -> str:
        greeting: str = request.state.greeting
        return greeting

    with TestClient(app, base_url=LOCAL) as client:
        assert happened == ["start"]
        assert client.get("/state").json() == "from the state"
        assert client.post("/greet/run", json={}).status_code == 200
    assert happened == ["start", "stop"]


def test_an_app_can_be_started_again(app: FastAPI) -> None:
    for name in ("one", "two"):
        with TestClient(app, base_url=LOCAL) as client:
            assert client.post("/greet/run", json={"name": name}).json() == {"result": f"hello {name}"}
            assert "/greet/run" in client.get("/openapi.json").json()["paths"]


def test_two_apps_in_one_process_keep_to_themselves(tmp_path: Path) -> None:
    one = create_app(AppSettings(pipelines_dir=str(tmp_path / "one"), show_tracebacks=True))
    two = create_app(AppSettings(pipelines_dir=str(tmp_path / "two"), cors_allow_origins=["https://two.example"]))
    with TestClient(one, base_url=LOCAL) as first, TestClient(two, base_url=LOCAL) as second:
        assert first.post("/deploy_files", json=deploy_body("same", "one ")).status_code == 200
        assert second.get("/status").json()["pipelines"] == []
        assert second.post("/deploy_files", json=deploy_body("same", "two ")).status_code == 200
        assert first.post("/same/run", json={}).json() == {"result": "one world"}
        assert second.post("/same/run", json={}).json() == {"result": "two world"}
        origin = {"origin": "https://one.example"}
        assert first.post("/same/run", json={}, headers=origin).headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-origin" not in second.post("/same/run", json={}, headers=origin).headers


def test_an_app_mounted_in_another_one_is_served_below_its_path(app: FastAPI) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/ai", app)
    with TestClient(outer, base_url=LOCAL) as client:
        assert client.post("/ai/greet/run", json={"name": "x"}).json() == {"result": "hello x"}
        assert client.get("/ai/status/greet").json()["pipeline"] == "greet"
        assert "/ai/openapi.json" in client.get("/ai/docs").text
        assert client.get("/ai/v1/models").json()["data"] == []
        assert client.post("/greet/run", json={}).status_code == 404


APP = """\
import uvicorn
from fastapi import Request

from hayhooks import create_app
from hayhooks.settings import settings

hayhooks = create_app()


@hayhooks.get("/custom")
async def custom_route(request: Request) -> dict:
    return {"message": "Hi, this is a custom route!", "root_path": request.scope["root_path"]}


@hayhooks.middleware("http")
async def custom_middleware(request: Request, call_next):
    response = await call_next(request)
    response.headers["X-Custom-Header"] = "custom-header-value"
    return response


if __name__ == "__main__":
    uvicorn.run("app:hayhooks", host=settings.host, port=settings.port)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pipelines" / "greet").mkdir(parents=True)
    (tmp_path / "pipelines" / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    return tmp_path


def test_the_program_of_the_readme_runs_as_it_stands(program: Path) -> None:
    port = free_port()
    with running(program, "app.py", env={"HAYHOOKS_PORT": str(port)}) as process:
        process.wait_for("Uvicorn running on")
        answer = httpx.get(f"http://localhost:{port}/custom")
        assert answer.json()["message"] == "Hi, this is a custom route!"
        run = httpx.post(f"http://localhost:{port}/greet/run", json={})
        assert run.json() == {"result": "hello world"}
        assert run.headers["x-custom-header"] == "custom-header-value"
        assert httpx.post(f"http://localhost:{port}/deploy_files", json=deploy_body("more")).status_code == 200
        assert httpx.post(f"http://localhost:{port}/more/run", json={}).status_code == 200


def test_run_app_logs_as_the_settings_say_and_leaves_alone_what_the_program_has_configured(program: Path) -> None:
    run = "from hayhooks import create_app, run_app\nrun_app(create_app())\n"
    own = "import sys\nfrom hayhooks import log\nlog.remove()\nlog.add(sys.stderr, format='OWN {message}')\n"
    (program / "plain.py").write_text(run)
    (program / "own.py").write_text(own + run)
    for file, shown in (("plain.py", '"deployment":"greet"'), ("own.py", "OWN run=")):
        port = free_port()
        env = {"HAYHOOKS_PORT": str(port), "HAYHOOKS_LOG_FORMAT": "json"}
        with running(program, file, env=env) as process:
            process.wait_for("Uvicorn running on")
            httpx.post(f"http://localhost:{port}/greet/run", json={})
            process.wait_for(shown)


@pytest.mark.parametrize("given_by", ["the setting", "uvicorn"])
def test_a_root_path_is_where_links_point_and_where_a_proxy_leaves_or_strips_it(program: Path, given_by: str) -> None:
    port = free_port()
    arguments = ["-m", "uvicorn", "app:hayhooks", "--port", str(port)]
    environment = {"HAYHOOKS_ROOT_PATH": "/api"} if given_by == "the setting" else {}
    if given_by == "uvicorn":
        arguments += ["--root-path", "/api"]
    with running(program, *arguments, env=environment) as process:
        process.wait_for("Uvicorn running on")
        # Stripped by the proxy, or passed on; uvicorn's option is for the former only.
        for prefix in ("", "/api") if given_by == "the setting" else ("",):
            base = f"http://127.0.0.1:{port}{prefix}"
            assert httpx.post(f"{base}/greet/run", json={}).json() == {"result": "hello world"}
            assert httpx.get(f"{base}/custom").json()["root_path"] == "/api"
            assert httpx.get(f"{base}/status/greet").json()["pipeline"] == "greet"
            assert httpx.get(f"{base}/v1/models").status_code == 200
            assert "/api/openapi.json" in httpx.get(f"{base}/docs").text
            document = httpx.get(f"{base}/openapi.json").json()
            assert document["servers"] == [{"url": "/api"}]
            assert httpx.get(f"{base}/apigreet/run").status_code == 404


def test_slow_deployments_are_built_side_by_side_at_start(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    os.mkfifo(meeting)  # opening one end waits for the other
    for name, mode in (("reader", "r"), ("writer", "w")):
        (tmp_path / "pipelines" / name).mkdir(parents=True)
        source = wrapper().replace("self.pipeline = None", f"open({str(meeting)!r}, {mode!r}).close()")
        (tmp_path / "pipelines" / name / "pipeline_wrapper.py").write_text(source)
    settings = AppSettings(pipelines_dir=str(tmp_path / "pipelines"), startup_deploy_workers=2)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        assert client.get("/status").json()["pipelines"] == ["reader", "writer"]
