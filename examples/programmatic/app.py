import uuid

import uvicorn
from fastapi import Request, Response

from hayhooks import create_app
from hayhooks.settings import settings

hayhooks = create_app()  # a FastAPI app that deploys and runs what is in HAYHOOKS_PIPELINES_DIR, ./pipelines by default


@hayhooks.get("/custom")
async def custom_route() -> dict[str, str]:
    return {"message": "Hi, this is a custom route!"}


@hayhooks.middleware("http")
async def add_request_id(request: Request, call_next) -> Response:
    response = await call_next(request)
    response.headers["X-Request-Id"] = request.headers.get("X-Request-Id") or str(uuid.uuid4())
    return response


if __name__ == "__main__":
    uvicorn.run("app:hayhooks", host=settings.host, port=settings.port)
