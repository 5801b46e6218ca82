"""A pipeline that fails: at once, or in the middle of its answer when asked to begin."""

from collections.abc import Generator
from typing import Any

from hayhooks import BasePipelineWrapper, get_last_user_message


class PipelineWrapper(BasePipelineWrapper):
    """Has no pipeline."""

    def setup(self) -> None:
        """Need nothing."""

    def run_chat_completion(
        self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]
    ) -> Generator[str, None, None]:
        """Fail."""
        if "begin" not in (get_last_user_message(messages) or ""):
            raise RuntimeError("The stock database is closed.")
        return self._break_off()

    def _break_off(self) -> Generator[str, None, None]:
        yield "The stock is "
        raise RuntimeError("The stock database was closed.")
