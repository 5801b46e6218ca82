"""What the document says of responses and conversations."""

from typing import Any

from hayhooks.server.openapi.words import (
    BOOLEAN,
    OPENAI_ERROR,
    STRING,
    json_answer,
    json_body,
    name_parameter,
    object_of,
    operation,
    ref,
)

_TEXT_OR_NULL = {"type": ["string", "null"]}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 1}
_FLAG = {"type": ["boolean", "null"]}
_OBJECT_OR_NULL = {"type": ["object", "null"]}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_METADATA = {"type": ["object", "null"], "maxProperties": 16, "additionalProperties": STRING}

_KINDS = ["message", "function_call", "function_call_output", "item_reference"]
_GIVEN = {"not": {"type": "null"}}

SCHEMAS: dict[str, Any] = {
    "ResponseItem": {
        "anyOf": [
            {
                **object_of(
                    ["role", "content"],
                    type={"const": "message"},
                    id=_TEXT_OR_NULL,
                    role={**STRING, "minLength": 1},
                    content={"anyOf": [STRING, {"type": "array", "items": {"type": ["object", "string"]}}]},
                ),
                "additionalProperties": True,
            },
            object_of(
                ["type", "call_id", "name", "arguments"],
                type={"const": "function_call"},
                id=_TEXT_OR_NULL,
                call_id={**STRING, "minLength": 1},
                name={**STRING, "minLength": 1},
                arguments={**STRING, "description": "JSON."},
            ),
            object_of(
                ["type", "call_id", "output"],
                type={"const": "function_call_output"},
                id=_TEXT_OR_NULL,
                call_id={**STRING, "minLength": 1},
                output={"anyOf": [STRING, {"type": "array", "items": {"type": ["object", "string"]}}]},
            ),
            object_of(["type", "id"], type={"const": "item_reference"}, id={**STRING, "minLength": 1}),
            {
                **object_of(["type"], type={**STRING, "not": {"enum": _KINDS}}, id=_TEXT_OR_NULL),
                "additionalProperties": True,
            },
        ],
        "description": "An input item. Items of further types, such as reasoning, are passed to the hook.",
    },
    "ResponseRequest": {
        **object_of(
            ["model"],
            model={**STRING, "minLength": 1, "description": "Name of a deployment with a Responses or a chat hook."},
            input={
                "anyOf": [STRING, {"type": "array", "minItems": 1, "items": ref("ResponseItem")}, {"type": "null"}],
                "description": "Needed unless the request continues a response or a conversation.",
            },
            instructions=_TEXT_OR_NULL,
            stream=_FLAG,
            store={**_FLAG, "default": True, "description": "Whether the response is kept."},
            background={**_FLAG, "default": False},
            previous_response_id={**_TEXT_OR_NULL, "description": "The response that this one continues."},
            conversation={
                "anyOf": [STRING, object_of(["id"], id=STRING), {"type": "null"}],
                "description": "The conversation that this response belongs to.",
            },
            tools={
                "type": ["array", "null"],
                "items": {
                    "anyOf": [
                        object_of(["type", "name"], type={"const": "function"}, name={**STRING, "minLength": 1}),
                        object_of(["type"], type={**STRING, "not": {"const": "function"}}),
                    ]
                },
            },
            tool_choice={"type": ["string", "object", "null"]},
            parallel_tool_calls=_FLAG,
            text={"type": ["object", "null"], "properties": {"format": _OBJECT_OR_NULL}},
            reasoning=_OBJECT_OR_NULL,
            temperature=_NUMBER_OR_NULL,
            top_p=_NUMBER_OR_NULL,
            max_output_tokens=_COUNT_OR_NULL,
            max_tool_calls=_COUNT_OR_NULL,
            truncation={"enum": ["auto", "disabled", None]},
            metadata=_METADATA,
            user=_TEXT_OR_NULL,
        ),
        "anyOf": [
            {"required": [name], "properties": {name: _GIVEN}}
            for name in ("input", "previous_response_id", "conversation")
        ],
        "additionalProperties": True,
    },
    "Response": {
        **object_of(
            ["id", "object", "created_at", "status", "model", "output", "error", "incomplete_details", "usage"],
            id=STRING,
            object={"const": "response"},
            created_at={"type": "number"},
            status={"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
            model=STRING,
            output=_OBJECTS,
            error={"anyOf": [object_of(["code", "message"], code=STRING, message=STRING), {"type": "null"}]},
            incomplete_details=_OBJECT_OR_NULL,
            usage=_OBJECT_OR_NULL,
        ),
        "additionalProperties": True,
    },
    "InputTokens": object_of(
        ["object", "input_tokens"],
        object={"const": "response.input_tokens"},
        input_tokens={"type": "integer", "minimum": 1},
    ),
    "ItemList": object_of(
        ["object", "data", "first_id", "last_id", "has_more"],
        object={"const": "list"},
        data=_OBJECTS,
        first_id=STRING,
        last_id=STRING,
        has_more=BOOLEAN,
    ),
    "Deleted": object_of(["id", "object", "deleted"], id=STRING, object=STRING, deleted={"const": True}),
    "ConversationItemsRequest": object_of(
        ["items"], items={"type": "array", "minItems": 1, "maxItems": 20, "items": ref("ResponseItem")}
    ),
    "ConversationRequest": object_of(
        metadata=_METADATA, items={"type": ["array", "null"], "maxItems": 20, "items": ref("ResponseItem")}
    ),
    "ConversationChange": object_of(["metadata"], metadata=_METADATA),
    "Conversation": object_of(
        ["id", "object", "created_at", "metadata"],
        id=STRING,
        object={"const": "conversation"},
        created_at={"type": "integer"},
        metadata={"type": "object", "additionalProperties": STRING},
    ),
}


def paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    found: dict[str, dict[str, Any]] = {}
    for prefix, suffix in (("/v1", ""), ("", "_alias")):
        found |= _responses(f"{prefix}/responses", suffix)
        found |= _conversations(f"{prefix}/conversations", suffix)
    return found


def _responses(path: str, suffix: str) -> dict[str, dict[str, Any]]:
    one = name_parameter("response_id")
    answer = {
        "description": "The response, or with `stream` its events",
        "content": {"application/json": {"schema": ref("Response")}, "text/event-stream": {}},
    }
    streaming = [
        _query("stream", BOOLEAN, "Attach to the events of the response instead."),
        _query("starting_after", {"type": "integer", "minimum": 0}, "Number of the last event that is known already."),
    ]
    return {
        path: {
            "post": _openai(
                f"openai_responses{suffix}", "Create a response", answer, requestBody=json_body(ref("ResponseRequest"))
            )
        },
        f"{path}/input_tokens": {
            "post": _openai(
                f"openai_responses_input_tokens{suffix}", "Estimate the input tokens of a response",
                json_answer(ref("InputTokens")), requestBody=json_body(ref("ResponseRequest")),
            )
        },
        f"{path}/{{response_id}}": {
            "get": _openai(f"openai_responses_get{suffix}", "Get a response", answer, parameters=[*one, *streaming]),
            "delete": _openai(
                f"openai_responses_delete{suffix}", "Forget a response", json_answer(ref("Deleted")), parameters=one
            ),
        },
        f"{path}/{{response_id}}/cancel": {
            "post": _openai(
                f"openai_responses_cancel{suffix}", "Stop a background response", answer, parameters=one
            )
        },
        f"{path}/{{response_id}}/input_items": {
            "get": _openai(
                f"openai_responses_input_items{suffix}", "List the input items of a response",
                json_answer(ref("ItemList")), parameters=[*one, *_paging()],
            )
        },
    }  # fmt: skip


def _conversations(path: str, suffix: str) -> dict[str, dict[str, Any]]:
    one = name_parameter("conversation_id")
    item = [*one, *name_parameter("item_id")]
    conversation, listing = json_answer(ref("Conversation")), json_answer(ref("ItemList"))
    beginning = {"requestBody": {**json_body(ref("ConversationRequest")), "required": False}}
    change = {"requestBody": json_body(ref("ConversationChange"))}
    return {
        path: {
            "post": _openai(f"openai_conversations{suffix}", "Begin a conversation", conversation, **beginning),
        },
        f"{path}/{{conversation_id}}": {
            "get": _openai(f"openai_conversations_get{suffix}", "Get a conversation", conversation, parameters=one),
            "post": _openai(
                f"openai_conversations_update{suffix}", "Change a conversation's metadata", conversation,
                parameters=one, **change,
            ),
            "delete": _openai(
                f"openai_conversations_delete{suffix}", "Forget a conversation", json_answer(ref("Deleted")),
                parameters=one,
            ),
        },
        f"{path}/{{conversation_id}}/items": {
            "get": _openai(
                f"openai_conversation_items{suffix}", "List the items of a conversation", listing,
                parameters=[*one, *_paging()],
            ),
            "post": _openai(
                f"openai_conversation_items_add{suffix}", "Add items to a conversation", listing, parameters=one,
                requestBody=json_body(ref("ConversationItemsRequest")),
            ),
        },
        f"{path}/{{conversation_id}}/items/{{item_id}}": {
            "get": _openai(
                f"openai_conversation_item_get{suffix}", "Get an item", json_answer({"type": "object"}), parameters=item
            ),
            "delete": _openai(
                f"openai_conversation_item_delete{suffix}", "Forget an item", conversation, parameters=item
            ),
        },
    }  # fmt: skip


def _openai(operation_id: str, summary: str, ok: dict[str, Any], **more: Any) -> dict[str, Any]:
    return operation(operation_id, "openai", summary, ok, OPENAI_ERROR, **more)


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _paging() -> list[dict[str, Any]]:
    return [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items on a page."),
        _query("order", {"enum": ["asc", "desc"], "default": "desc"}, "From the first, or from the last."),
        _query("after", STRING, "Id of the last item of the page before."),
    ]
