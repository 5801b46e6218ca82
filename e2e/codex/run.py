"""Codex CLI completes a task with a tool against each deployment of ``pipelines/``. See README.md."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from e2e.npm import installed

from hayhooks.testing import running_server

HERE = Path(__file__).parent
VERSION = os.environ.get("CODEX_VERSION", "0.169.0")
CONFIG = """
model = "{model}"
model_provider = "hayhooks"

[model_providers.hayhooks]
name = "Hayhooks"
base_url = "{url}/v1"
wire_api = "responses"
"""


def main() -> None:
    """Run the task with every model; ends with an error when one does not complete it."""
    codex = installed("codex", "@openai/codex", VERSION, "codex")
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        shutil.copytree(HERE / "pipelines", work / "pipelines")
        with running_server(work / "pipelines") as server:
            for model in ("native", "over_chat"):
                check(codex, work, server.url, model)
                sys.stdout.write(f"{model}: Codex {VERSION} wrote the file and read the answer\n")


def check(codex: Path, work: Path, url: str, model: str) -> None:
    """Have Codex do the task in a directory of its own."""
    home, task = work / f"home-{model}", work / f"task-{model}"
    home.mkdir()
    task.mkdir()
    (home / "config.toml").write_text(CONFIG.format(model=model, url=url))
    # What it runs is what our deployments say: one echo. Its sandbox needs rights that containers do not give.
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json"]
    done = subprocess.run(
        [codex, "exec", *flags, "Write made.txt"],
        cwd=task, env={**os.environ, "CODEX_HOME": str(home)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    said = [json.loads(line).get("item", {}) for line in done.stdout.splitlines() if line.startswith("{")]
    texts = [item["text"] for item in said if item.get("type") == "agent_message"]
    made = task / "made.txt"
    if not made.exists() or not texts or f"made by {model}" not in texts[-1]:
        sys.exit(f"{model}: Codex did not complete its task.\n{done.stdout}\n{done.stderr}")


if __name__ == "__main__":
    main()
