import re
from collections import Counter

from haystack import component


@component
class WordCounter:
    """Counts the words of a text, apart from the ones to leave out."""

    def __init__(self, leave_out: list[str] | None = None) -> None:
        self.leave_out = set(leave_out or [])

    @component.output_types(counts=dict[str, int])
    def run(self, text: str) -> dict[str, dict[str, int]]:
        words = re.findall(r"[^\W\d_]+", text.lower())
        return {"counts": dict(Counter(word for word in words if word not in self.leave_out))}
