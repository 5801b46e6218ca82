"""``python -m hayhooks.demo [--host HOST] [--port PORT]``: serve the demo pipeline and say what to try."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

PIPELINES = Path(__file__).parent / "pipelines"
_TRY = """
Hayhooks serves a demo pipeline that answers questions about Hayhooks itself.

  API pages   {url}/docs
  REST        curl {url}/ask_docs/run -H 'Content-Type: application/json' \\
                -d '{{"question": "How do I deploy a pipeline?"}}'
  Chat        curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
                -d '{{"model": "ask_docs", "stream": true,
                     "messages": [{{"role": "user", "content": "What is a wrapper?"}}]}}'
  MCP         {url}/mcp
  A2A         curl {url}/a2a
  Status      hayhooks status --url {url}

{model}
Stop with Ctrl+C.
"""


@click.command()
@click.option("--host", default="localhost", show_default=True, help="Address to listen on.")
@click.option("--port", default=1416, show_default=True, help="Port to listen on.")
def main(host: str, port: int) -> None:
    """Serve the demo pipeline until a signal says stop."""
    model = "OPENAI_API_KEY is set: answers come from the model."
    if not os.environ.get("OPENAI_API_KEY"):
        model = "It quotes the manual and needs no model. With OPENAI_API_KEY set, a model answers."
    # On standard error, where the server's own log goes: the two stay in order.
    sys.stderr.write(_TRY.format(url=f"http://{host}:{port}", model=model))
    with tempfile.TemporaryDirectory(prefix="hayhooks-demo-") as home:
        # A copy: what is deployed to the demo must not end up among its own files.
        pipelines = shutil.copytree(PIPELINES, Path(home) / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
        from hayhooks.server.main import serve  # slow to import: the text above comes first

        serve(host=host, port=port, pipelines_dir=str(pipelines))


if __name__ == "__main__":
    main()
