"""A typed client of the Hayhooks server, on the standard library alone: it is imported in milliseconds."""

from hayhooks.client.answers import Deployed, DeploymentStatus, RunAnswer, ServerStatus, Undeployed, WorkersStatus
from hayhooks.client.api import Client
from hayhooks.client.errors import BrokenAnswer, ClientError, InvalidClientRequest, ServerRefused, ServerUnreachable
from hayhooks.client.multipart import Content, Upload
from hayhooks.client.transport import Answer

__all__ = [
    "Answer",
    "BrokenAnswer",
    "Client",
    "ClientError",
    "Content",
    "Deployed",
    "DeploymentStatus",
    "InvalidClientRequest",
    "RunAnswer",
    "ServerRefused",
    "ServerStatus",
    "ServerUnreachable",
    "Undeployed",
    "Upload",
    "WorkersStatus",
]
