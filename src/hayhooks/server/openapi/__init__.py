"""The OpenAPI document of the server and of what is live."""

from hayhooks.server.openapi.document import OpenAPI, describe
from hayhooks.server.openapi.fixed import fixed_paths

__all__ = ["OpenAPI", "describe", "fixed_paths"]
