"""Lists of the API that are read page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

from starlette.types import Scope

from hayhooks.surfaces._json import invalid
from hayhooks.surfaces.openai.errors import Refused

_DEFAULT_LIMIT, _MAX_LIMIT = 20, 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None  # id of the item before the first


def query(scope: Scope) -> dict[str, str]:
    """The query's parameters; of one that is given twice, the last."""
    values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: texts[-1] for name, texts in values.items()}


def page_of(scope: Scope) -> Page:
    """The page that the query asks for.

    Raises:
        InvalidRequest: Naming the parameter.
    """
    asked = query(scope)
    limit = number(asked, "limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise invalid("limit", f"'limit' must be from 1 to {_MAX_LIMIT}.")
    order = asked.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "'order' must be 'asc' or 'desc'.")
    return Page(limit, "asc" if order == "asc" else "desc", asked.get("after") or None)


def number(asked: dict[str, str], name: str, default: int) -> int:
    """A whole number of the query. Raises InvalidRequest."""
    text = asked.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid(name, f"'{name}' must be a whole number.")
    return int(text)


def page_of_items(items: Sequence[dict[str, Any]], page: Page) -> list[dict[str, Any]]:
    """One item more than the page has, when there is one.

    Raises:
        Refused: There is no item of the id after which the page begins.
    """
    ordered = list(items) if page.order == "asc" else list(reversed(items))
    if page.after is not None:
        place = next((place for place, item in enumerate(ordered) if item.get("id") == page.after), None)
        if place is None:
            raise no_such_item(page.after)
        ordered = ordered[place + 1 :]
    return ordered[: page.limit + 1]


def no_such_item(item_id: str) -> Refused:
    """The error for an ``after`` that is not in the list."""
    return Refused(404, f"There is no item with id '{item_id[:80]}' in this list.", "item_not_found", "after")


def list_object(items: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """The list of *items*, of which one may be more than the page has."""
    shown = list(items[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else "",  # clients know no null here
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": len(items) > limit,
    }
