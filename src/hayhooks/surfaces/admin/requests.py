"""What admin requests have in common: the name in the path, and a body that is checked."""

from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError
from starlette.types import Scope

from hayhooks.core.errors import DeploymentNotFound, InvalidRequest
from hayhooks.surfaces._http import route_path


def argument(scope: Scope) -> str | None:
    """What follows the prefix in the path."""
    _, _, rest = route_path(scope)[1:].partition("/")
    return unquote(rest) or None


def no_argument(scope: Scope) -> None:
    """Raise DeploymentNotFound when something follows the prefix."""
    rest = argument(scope)
    if rest is not None:
        raise DeploymentNotFound(rest)


def validated(adapter: TypeAdapter[Any], body: bytes) -> Any:
    """*body* as what *adapter* is for. Raises InvalidRequest, with the place of each fault."""
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        errors = [
            {"loc": ["body", *found["loc"]], "msg": found["msg"], "type": found["type"]}
            for found in error.errors(include_url=False, include_context=False, include_input=False)[:20]
        ]
        where = ".".join(str(part) for part in errors[0]["loc"])
        raise InvalidRequest(f"{where}: {errors[0]['msg']}", errors) from None
