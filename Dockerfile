# Built in one stage, run in another: the image that runs has neither uv nor the sources.
FROM python:3.13-slim AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/hayhooks \
    UV_PYTHON_DOWNLOADS=never

RUN pip install --no-cache-dir uv==0.13.9

WORKDIR /src

# Dependencies first: their layer stays as long as the lock file does.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra jwt --no-install-project

COPY LICENSE README.md ./
COPY docs docs
COPY src src
RUN uv sync --frozen --no-dev --extra jwt --no-editable


FROM python:3.13-slim

# Both directories are open to any user, because compose.yaml and Kubernetes may choose another one.
RUN useradd --uid 1000 --create-home --shell /usr/sbin/nologin hayhooks \
    && install --directory --mode=0777 /app/pipelines /app/state

COPY --from=build /opt/hayhooks /opt/hayhooks

# Keys are not among these: they come from the environment of the container.
ENV PATH=/opt/hayhooks/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HAYHOOKS_HOST=0.0.0.0 \
    HAYHOOKS_PORT=1416 \
    HAYHOOKS_PIPELINES_DIR=/app/pipelines \
    HAYHOOKS_STATE_DIR=/app/state

# A number, so that Kubernetes can see that it is not root.
USER 1000:1000
WORKDIR /app
VOLUME ["/app/pipelines", "/app/state"]
EXPOSE 1416

# With http.client, which no proxy variable of the container sends elsewhere.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['HAYHOOKS_PORT']), timeout=2); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]

CMD ["hayhooks", "run"]
