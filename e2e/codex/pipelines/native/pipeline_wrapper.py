"""A model that is no model: has one command run, then repeats what the tool said."""

import json
from collections.abc import Iterator
from typing import Any

from hayhooks import BasePipelineWrapper

COMMAND = "echo made by native > made.txt && cat made.txt"


class PipelineWrapper(BasePipelineWrapper):
    """Answers Responses itself."""

    def setup(self) -> None:
        """Nothing to build."""

    def run_response(self, model: str, input_items: list[Any], body: dict[str, Any]) -> Iterator[Any]:
        """Call the tool that Codex offers, or say what it gave."""
        outputs = [item["output"] for item in input_items if item["type"] == "function_call_output"]
        if outputs:
            yield f"The tool said: {outputs[-1]}"
            return
        assert any(tool.get("name") == "exec_command" for tool in body["tools"])
        yield "I will write the file."
        yield {"type": "function_call", "name": "exec_command", "arguments": json.dumps({"cmd": COMMAND})}
