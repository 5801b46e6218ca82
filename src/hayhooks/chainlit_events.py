"""Events that the Chainlit front end understands."""

from typing import Any

from hayhooks.events import PipelineEvent

__all__ = ["ChainlitEvent", "create_custom_element_event"]


class ChainlitEvent(PipelineEvent):
    """An event that only the Chainlit front end knows."""

    __slots__ = ()


def create_custom_element_event(name: str, props: dict[str, Any]) -> ChainlitEvent:
    """Show a custom element.

    Args:
        name: The element's file name in the custom elements directory, without ``.jsx``.
        props: What the element receives; anything JSON can hold.
    """
    return ChainlitEvent("custom_element", {"name": name, "props": props})
