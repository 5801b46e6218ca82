"""Templates of a pipeline's prompt builders, for people to start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from haystack.dataclasses import ChatMessage, TextContent

from hayhooks.core.errors import InvalidRequest


@dataclass(frozen=True, slots=True, eq=False)
class PromptTemplate:
    """A prompt that a deployment offers: a prompt builder of its pipeline, under a name."""

    name: str
    description: str
    builder: Any
    variables: Mapping[str, bool]  # name: whether it must be given

    def render(self, arguments: Mapping[str, str]) -> list[dict[str, Any]]:
        """The messages, as ``{"role", "content": [part, ...]}``; parts are text, images and files, as MCP has them.

        Raises:
            InvalidRequest: A variable is missing, or the template cannot be filled with these.
        """
        missing = [name for name, is_required in self.variables.items() if is_required and name not in arguments]
        if missing:
            raise InvalidRequest(f"The prompt {self.name!r} needs {', '.join(missing)}.")
        try:
            prompt = self.builder.run(**{name: arguments[name] for name in self.variables if name in arguments})[
                "prompt"
            ]
        except ValueError as error:
            raise InvalidRequest(f"The prompt {self.name!r} cannot be made: {error}") from None
        messages = prompt if isinstance(prompt, list) else [ChatMessage.from_user(prompt)]
        return [{"role": _role(message), "content": _parts(message)} for message in messages]


def prompt_templates(pipeline: Any, declared: Mapping[str, Any]) -> list[PromptTemplate]:
    """What is *declared*: names of prompts to names of components, or to ``{"component", "description"}``.

    Raises:
        ValueError: A component does not exist or is no prompt builder.
    """
    templates = []
    for name, said in declared.items():
        about = said if isinstance(said, Mapping) else {"component": said}
        component, description = about.get("component"), about.get("description", "")
        if (
            not isinstance(component, str)
            or not isinstance(description, str)
            or set(about) - {"component", "description"}
        ):
            raise ValueError(f"The prompt {name!r} must name a component, or map 'component' and 'description'.")
        nodes = getattr(getattr(pipeline, "graph", None), "nodes", {})
        builder = nodes[component]["instance"] if component in nodes else None
        if builder is None:
            raise ValueError(
                f"The prompt {name!r} names the component {component!r}, which the pipeline does not have."
            )
        variables, required = getattr(builder, "variables", None), getattr(builder, "required_variables", None)
        if not isinstance(variables, list) or not hasattr(builder, "template"):
            raise ValueError(f"The prompt {name!r} names the component {component!r}, which is no prompt builder.")
        needed = set(variables) if required == "*" else set(required or ())
        known = {variable: variable in needed for variable in variables}
        templates.append(PromptTemplate(str(name), description, builder, known))
    return templates


def _role(message: ChatMessage) -> str:
    return "assistant" if message.role.value == "assistant" else "user"


def _parts(message: ChatMessage) -> Sequence[dict[str, Any]]:
    return [part for part in map(_part, message._content) if part is not None]


def _part(part: Any) -> dict[str, Any] | None:
    """A part of a message, as MCP has it; those of other kinds are no part of a prompt."""
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if hasattr(part, "base64_image"):
        return {"type": "image", "data": part.base64_image, "mimeType": part.mime_type or "image/png"}
    if hasattr(part, "base64_data"):
        name = part.filename or "file"
        uri = (part.extra or {}).get("uri") or f"hayhooks://files/{quote(name)}"
        media_type = part.mime_type or "application/octet-stream"
        return {"type": "resource", "resource": {"uri": uri, "mimeType": media_type, "blob": part.base64_data}}
    return None
