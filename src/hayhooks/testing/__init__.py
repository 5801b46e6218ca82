"""A real server on a free port, for tests of pipelines: yours and ours.

def test_it_answers(tmp_path: Path) -> None:
with running_server(tmp_path / "pipelines") as server:
assert server.client.run("greet", {"name": "Ada"}).result == "Hello, Ada"
"""

from hayhooks.testing.server import RunningServer, ServerDidNotStart, running_server

__all__ = ["RunningServer", "ServerDidNotStart", "running_server"]
