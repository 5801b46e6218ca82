"""What Open WebUI asks a model for around a chat: titles, tags, follow-ups and the like.

Such a request is a chat completion like any other. It is told by ``metadata.task``, or by a single user message that is
one of Open WebUI's templates from its first line to its chat history.

Source: Open WebUI's source, ``open_webui/config.py`` (templates), ``constants.py`` (names of tasks) and
``routers/tasks.py`` (what is read of an answer), 0.5 to 0.12.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TITLE_LENGTH = 48  # characters
_START, _END = "<chat_history>", "</chat_history>"
_SPEAKER = re.compile(r"^([A-Z]+): ", re.MULTILINE)
_MARKUP = re.compile(r"[*`]+|^\s*[#>-]+\s+")


@dataclass(frozen=True, slots=True)
class _Template:
    """How the prompt of one task reads; further releases changed the words in between."""

    task: str
    begins: re.Pattern[str]
    key: str  # of the JSON object that is asked for
    goes_on: bool = False  # behind the chat history


_HEAD = "### Task:"
_TEMPLATES = (
    _Template(
        "title_generation", re.compile(r"Generate a concise\b.* title\b.* summarizing the chat history"), "title"
    ),
    _Template("tags_generation", re.compile(r"Generate 1-3 broad tags categorizing the main themes of"), "tags"),
    _Template(
        "follow_up_generation",
        re.compile(r"(Predict 3-5 useful messages this user might|Suggest 3-5 relevant follow-up questions)\b"),
        "follow_ups",
    ),
    _Template(
        "query_generation",
        re.compile(r"Analyze the chat history to determine the necessity of generating search queries\b"),
        "queries",
    ),
    _Template(
        "autocomplete_generation", re.compile(r"You are an autocompletion system\. Continue the text in `<text>`"),
        "text", goes_on=True,
    ),
    _Template(
        "image_prompt_generation", re.compile(r"Generate a detailed prompt for am? image generation task"), "prompt"
    ),
)  # fmt: skip
_EMOJI = re.compile(
    r"Your task is to reflect the speaker's likely facial expression through a fitting emoji\..*\n\nMessage: ```.*```",
    re.DOTALL,
)
EMOJI_TASK = "emoji_generation"
TASKS = (*(template.task for template in _TEMPLATES), EMOJI_TASK)


def task_of(body: Mapping[str, Any]) -> str | None:
    """Open WebUI's name of the task that *body* asks for, or None when it surely is not one."""
    prompt = _prompt(body["messages"])
    if prompt is None:
        return None
    metadata = body.get("metadata")
    task = metadata.get("task") if isinstance(metadata, Mapping) else None
    if isinstance(task, str) and task in TASKS:
        return task
    if prompt.startswith(_HEAD):
        return next((template.task for template in _TEMPLATES if _is_made_of(template, prompt)), None)
    return EMOJI_TASK if _EMOJI.fullmatch(prompt.strip()) else None


def default_answer(task: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """A small answer to *task* in the form that Open WebUI reads; always the same for the same *messages*."""
    said = _said_by_user(_prompt(messages) or "")
    if task == EMOJI_TASK:
        return "🙂"
    answers: dict[str, dict[str, Any]] = {
        "title_generation": {"title": _title(said[0] if said else "")},
        "tags_generation": {"tags": ["General"]},
        "follow_up_generation": {"follow_ups": []},
        "query_generation": {"queries": []},
        "autocomplete_generation": {"text": ""},
        "image_prompt_generation": {"prompt": said[-1] if said else ""},
    }
    return json.dumps(answers[task], ensure_ascii=False)


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of the one message that there is, but for a system prompt that the model was given in Open WebUI."""
    last = messages[-1]
    content = last.get("content")
    if last["role"] != "user" or not isinstance(content, str):
        return None
    return content if all(message["role"] == "system" for message in messages[:-1]) else None


def _is_made_of(template: _Template, prompt: str) -> bool:
    first, second, *_ = [*prompt.split("\n", 2), ""]
    if first.strip() != _HEAD or not template.begins.match(second):
        return False
    instructions, start, rest = prompt.partition(_START)
    _, end, behind = rest.rpartition(_END)
    has_section = bool(start and end) and ("<type>" in behind if template.goes_on else not behind.strip())
    return has_section and re.search(rf'"{template.key}"\s*:', instructions) is not None


def _said_by_user(prompt: str) -> list[str]:
    """What the user said in the chat history of *prompt*, where each message begins with ``ROLE:``."""
    history = prompt.partition(_START)[2].rpartition(_END)[0].strip()
    _, *parts = _SPEAKER.split(history)
    spoken = zip(parts[::2], parts[1::2], strict=True)
    return [text.strip() for role, text in spoken if role == "USER" and text.strip()]


def _title(text: str) -> str:
    """The beginning of *text*, without its markup, at most ``_TITLE_LENGTH`` characters long.

    Without one Open WebUI takes the first message itself.
    """
    lines = (" ".join(_MARKUP.sub("", line).split()) for line in text.splitlines())
    title = next(filter(None, lines), "")
    if len(title) <= _TITLE_LENGTH:
        return title
    cut = title[: _TITLE_LENGTH - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:.-") + "…"
