"""Which components of a pipeline make the documents that its answer rests on."""

from typing import Any, get_args

from haystack import Document

from hayhooks.core.haystack.platform import is_pipeline


def document_makers(pipeline: Any) -> set[str]:
    """The components whose documents no other one refines: of a retriever and its ranker, the ranker."""
    if not is_pipeline(pipeline):
        return set()
    nodes = pipeline.graph.nodes
    makers = {name for name in nodes if any(map(_is_of_documents, _outputs(nodes[name]["instance"])))}
    refined = {
        sender
        for sender, receiver, edge in pipeline.graph.edges(data=True)
        if sender in makers and receiver in makers - {sender} and _is_of_documents(edge["from_socket"].type)
    }
    return makers - refined or makers  # in a loop each refines the other


def _outputs(instance: Any) -> list[Any]:
    # Each socket is a public attribute of the component's Sockets object, under its own name.
    sockets = vars(instance.__haystack_output__)
    return [socket.type for name, socket in sockets.items() if not name.startswith("_")]


def _is_of_documents(annotation: Any) -> bool:
    return annotation is Document or any(map(_is_of_documents, get_args(annotation)))
