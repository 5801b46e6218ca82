"""``python -m e2e.assistants [NAME ...]``: coding assistants use deployments as tools. See README.md beside this."""

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.assistants.assistants import ASSISTANTS, Assistant, Desk
from e2e.npm import installed

from hayhooks.testing import RunningServer, running_server

HERE = Path(__file__).parent
LATER = HERE / "later" / "pipelines"
LOGIN = {"HAYHOOKS_ADMIN_KEY": "admin-of-the-assistants-test", "HAYHOOKS_REQUIRE_LOGIN": "true"}
ASKED = "Where is order A-17? Use the tool {tool}{when}."


def main() -> int:
    """Try each assistant that the command line names; the exit code is 1 when one does not do what it should."""
    names = sys.argv[1:] or [assistant.name for assistant in ASSISTANTS]
    failures = 0
    print(
        "| Assistant | Version | Connects | Calls | Sees what is deployed later | While it works |\n"
        "|---|---|---|---|---|---|"
    )
    for assistant in (known for known in ASSISTANTS if known.name in names):
        program = installed(assistant.name, assistant.package, assistant.version, assistant.command)
        with at_work(assistant, program) as (desk, server):
            row, complaints = tried(assistant, desk, server)
        print(f"| {assistant.name} | {assistant.version} | {' | '.join(row)} |", flush=True)
        failures += len(complaints)
        for complaint in complaints:
            print(f"  {complaint}", flush=True)
    return 1 if failures else 0


@contextmanager
def at_work(assistant: Assistant, program: Path) -> Iterator[tuple[Desk, RunningServer]]:
    """A server with a key for the assistant, and a home for it that is empty."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        work = Path(directory)
        shutil.copytree(HERE / "pipelines", work / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
        with running_server(work / "pipelines", env=LOGIN) as server:
            key = server.client.create_key(assistant.name, ["run"]).key
            env = assistant.env(server.url, key)
            desk = Desk(program, work / "home", work / "project", server.url, key, env)
            desk.home.mkdir()
            desk.project.mkdir()
            try:
                yield desk, server
            finally:
                assistant.leave(desk)


def tried(assistant: Assistant, desk: Desk, server: RunningServer) -> tuple[list[str], list[str]]:
    """The cells of a row, and what is not as it should be."""
    complaints: list[str] = []
    try:
        assistant.connect(desk)
    except (RuntimeError, AssertionError) as error:
        return ["no", "-", "-", "-"], [str(error)]
    if assistant.ask is None:
        return ["yes", "not tried", "not tried", "not tried"], []
    row = ["yes"]
    for tool, words in (("order_status", "in van 4711"), ("parcel_status", "passed gate 4712")):
        if tool == "parcel_status":
            deploy(server, tool)
        try:
            said = assistant.ask(desk, ASKED.format(tool=tool, when=""))
        except RuntimeError as error:
            said = str(error)
        was_called = has_run(server, tool, assistant.name)
        row.append("yes" if words in said and was_called else "no")
        if row[-1] == "no":
            complaints.append(f"{tool}: run by MCP: {was_called}; it said: {said}\n{server.log}")
    row.append("yes" if sees_while_it_works(assistant, desk, server) else "with its next start")
    return row, complaints


def sees_while_it_works(assistant: Assistant, desk: Desk, server: RunningServer) -> bool:
    """Whether a tool is used that is deployed after the assistant was asked."""
    assert assistant.ask is not None
    calls = server.log.count("deployment=order_status")
    answers: list[str] = []

    def ask() -> None:
        assert assistant.ask is not None
        try:
            answers.append(assistant.ask(desk, ASKED.format(tool="van_status", when=" as soon as there is one")))
        except RuntimeError as error:
            answers.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive() and server.log.count("deployment=order_status") == calls:
        time.sleep(0.05)
    deploy(server, "van_status")
    asking.join()
    return "passed gate 4713" in answers[0]


def deploy(server: RunningServer, name: str) -> None:
    """Deploy one of ``later``, as its owner would from elsewhere."""
    server.client.deploy_files(name, {"pipeline_wrapper.py": LATER / name / "pipeline_wrapper.py"})


def has_run(server: RunningServer, deployment: str, caller: str) -> bool:
    """Whether the log shows a run by MCP with the assistant's own key."""
    lines = [line for line in server.log.splitlines() if f" deployment={deployment} " in line]
    return any(f" via=mcp caller={caller} status=ok " in line for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
