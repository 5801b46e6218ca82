"""How a pipeline YAML takes part in a chat: what of its inputs the conversation fills, and what of it is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx  # type: ignore[import-untyped]
from haystack.dataclasses import ChatMessage, Document, ExtractedAnswer, GeneratedAnswer

from hayhooks.core.haystack.sockets import needs_value, options, takes, takes_list_of
from hayhooks.core.haystack.streaming_targets import last_capable
from hayhooks.core.haystack.yaml import ChatSpec, InvalidYAML, PipelineSpec

# An input that takes text is the user's when its name says so, an output of plain text the answer when its does.
_QUERY_WORDS = ("query", "question", "prompt", "text", "message", "input")
QUERY_NAMES = (*_QUERY_WORDS, *(f"user_{word}" for word in _QUERY_WORDS))
ANSWER_NAMES = ("answer", "answers", "reply", "replies", "response", "responses", "completion", "output", "text")
# What a user writes must not be run as a template, nor stand for what a model said, unless the YAML says so.
_NOT_THE_USERS = ("template", "user_prompt", "system_prompt", "replies")
_SAID_BY_TYPE = (ChatMessage, GeneratedAnswer, ExtractedAnswer)


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """The declared inputs and outputs that a chat uses."""

    answer: str  # the output that is said
    messages: str | None = None  # the input that gets the conversation
    query: str | None = None  # the input that gets the text of the user's last message
    parameters: str | None = None  # the input that gets the request's model parameters
    sources: str | None = None  # the output whose documents are shown
    speaker: str | None = None  # the component that streams when nobody says which: the answer's, or one before it

    @property
    def filled(self) -> frozenset[str]:
        """The inputs that the conversation fills."""
        return frozenset(name for name in (self.messages, self.query) if name is not None)


def plan_chat(
    spec: PipelineSpec, pipeline: Any, inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Any]
) -> ChatPlan | str | None:
    """How the pipeline takes part in a chat; None when it does not, or what is not clear when it looks as if it could.

    Without a ``chat`` section, convention decides, and whatever is not clear means no chat. With one, the section
    must work; what it leaves out is found by convention.

    Args:
        spec: What the YAML says.
        pipeline: The loaded pipeline.
        inputs: The sockets of each declared input.
        outputs: The type of each declared output.

    Raises:
        InvalidYAML: The section names what does not exist or does not fit, or leaves out what is not clear.
    """
    if spec.chat is False or not spec.is_declared:
        return None
    try:
        return _plan(spec, spec.chat or ChatSpec(), pipeline, inputs, outputs)
    except _Unclear as error:
        if spec.chat is not None:
            raise InvalidYAML(f"The pipeline cannot chat: {error}") from None
        return str(error) if error.is_near else None


class _Unclear(ValueError):
    """Convention does not find a way; *is_near* when it finds more than one."""

    def __init__(self, message: str, *, is_near: bool = False) -> None:
        super().__init__(message)
        self.is_near = is_near


def _plan(
    spec: PipelineSpec,
    said: ChatSpec,
    pipeline: Any,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Any],
) -> ChatPlan:
    _check_names(said, inputs, outputs)
    # First: a pipeline without anything to say is not about to chat, whatever its inputs could be.
    answer = said.answer or _one(
        "outputs", "could be the answer", "answer", [n for n in outputs if _is_answer(spec, n, outputs[n])]
    )
    if answer is None:
        raise _Unclear(
            "no output gives messages or answers, or text under a name such as 'answer'. "
            "Say which under 'chat', as 'answer'."
        )
    messages, query = said.messages, said.query
    if messages is None and query is None:
        messages = _one(
            "inputs", "could take the conversation", "messages", [n for n in inputs if _is_messages(inputs[n])]
        )
        others = [name for name in inputs if name not in (messages, said.parameters)]
        texts = [name for name in others if name in QUERY_NAMES and _is_text(inputs[name])]
        query = _one("inputs", "could take the user's text", "query", texts)
        if messages is None and query is None:
            raise _Unclear(
                "no input takes a list of ChatMessage, or text under a name such as 'query'. "
                "Say which under 'chat', as 'messages' or 'query'."
            )
    filled = {messages, query, said.parameters}
    left = [name for name in inputs if name not in filled and any(map(needs_value, inputs[name]))]
    if left:
        raise _Unclear(f"it needs {_listed(left)}, which a conversation does not fill.")
    return ChatPlan(
        answer, messages, query, said.parameters, _sources(said, answer, outputs),
        last_capable(pipeline, _and_before(pipeline, spec.outputs[answer][0])),
    )  # fmt: skip


def _check_names(said: ChatSpec, inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Any]) -> None:
    """What the section names exists and has a type that fits."""
    for key, name in (("messages", said.messages), ("query", said.query), ("parameters", said.parameters)):
        if name is not None and name not in inputs:
            raise InvalidYAML(f"'{key}' of 'chat' names {name!r}, which is no input. Inputs: {_listed(inputs)}.")
    for key, output in (("answer", said.answer), ("sources", said.sources or None)):
        if output is not None and output not in outputs:
            raise InvalidYAML(f"'{key}' of 'chat' names {output!r}, which is no output. Outputs: {_listed(outputs)}.")
    named = [name for name in (said.messages, said.query, said.parameters) if name is not None]
    if len({*named}) < len(named):
        raise InvalidYAML("'chat' names the same input twice.")
    if said.messages and not all(_takes_messages(socket.type) for socket in inputs[said.messages]):
        raise InvalidYAML(f"'messages' of 'chat' names {said.messages!r}, which does not take a list of ChatMessage.")
    if said.query and not _is_text(inputs[said.query], everywhere=True):
        raise InvalidYAML(f"'query' of 'chat' names {said.query!r}, which does not take text.")
    if said.parameters and not all(_takes_dict(socket.type) for socket in inputs[said.parameters]):
        raise InvalidYAML(f"'parameters' of 'chat' names {said.parameters!r}, which does not take a dictionary.")
    if said.answer and not all(_can_be_said(option) for option in options(outputs[said.answer])):
        raise InvalidYAML(f"'answer' of 'chat' names {said.answer!r}, which is neither messages, answers nor text.")
    if said.sources and not _has_documents(outputs[said.sources]):
        raise InvalidYAML(f"'sources' of 'chat' names {said.sources!r}, which has no documents.")


def _one(what: str, could: str, key: str, names: Sequence[str]) -> str | None:
    if len(names) > 1:
        raise _Unclear(f"the {what} {_listed(names)} {could}. Say which under 'chat', as '{key}'.", is_near=True)
    return names[0] if names else None


def _sources(said: ChatSpec, answer: str, outputs: Mapping[str, Any]) -> str | None:
    if said.sources is not None:
        return said.sources or None
    found = [name for name, kind in outputs.items() if takes_list_of(kind, Document)]
    if found:
        return found[0] if len(found) == 1 else None
    return answer if _has_documents(outputs[answer]) else None


def _is_messages(sockets: Sequence[Any]) -> bool:
    """Whether an input is surely a conversation: one socket says so, and no other minds."""
    return (
        all(_takes_messages(socket.type) and socket.name not in _NOT_THE_USERS for socket in sockets)
        and any(socket.type is not Any for socket in sockets)
    )  # fmt: skip


def _is_text(sockets: Sequence[Any], *, everywhere: bool = False) -> bool:
    return all(
        (takes(socket.type, str) or socket.type is Any) and (everywhere or socket.name not in _NOT_THE_USERS)
        for socket in sockets
    )


def _is_answer(spec: PipelineSpec, name: str, kind: Any) -> bool:
    if any(takes(kind, said) or takes_list_of(kind, said) for said in _SAID_BY_TYPE):
        return True
    is_named = name in ANSWER_NAMES or spec.outputs[name][1] == "replies"
    return is_named and (takes(kind, str) or takes_list_of(kind, str))


def _can_be_said(kind: Any) -> bool:
    return kind is Any or any(takes(kind, said) or takes_list_of(kind, said) for said in (*_SAID_BY_TYPE, str))


def _has_documents(kind: Any) -> bool:
    return kind is Any or takes_list_of(kind, Document) or takes_list_of(kind, GeneratedAnswer)


def _takes_messages(kind: Any) -> bool:
    return kind is Any or takes_list_of(kind, ChatMessage)


def _takes_dict(kind: Any) -> bool:
    return kind is Any or any(getattr(option, "__origin__", option) is dict for option in options(kind))


def _and_before(pipeline: Any, component: str) -> list[str]:
    return [*networkx.ancestors(pipeline.graph, component), component]


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
