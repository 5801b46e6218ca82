"""A typed client of the Hayhooks server, on the standard library alone: it is imported in milliseconds."""

from hayhooks.client.answers import (
    CanaryEnded,
    CanaryStatus,
    Deployed,
    DeploymentStatus,
    DeploymentVersion,
    DeploymentVersions,
    RunAnswer,
    ServerStatus,
    Tried,
    Undeployed,
    WorkersStatus,
)
from hayhooks.client.api import Client
from hayhooks.client.errors import BrokenAnswer, ClientError, InvalidClientRequest, ServerRefused, ServerUnreachable
from hayhooks.client.keys import CreatedKey, KeyInfo
from hayhooks.client.multipart import Content, Upload
from hayhooks.client.transport import Answer

__all__ = [
    "Answer",
    "BrokenAnswer",
    "CanaryEnded",
    "CanaryStatus",
    "Client",
    "ClientError",
    "Content",
    "CreatedKey",
    "Deployed",
    "DeploymentStatus",
    "DeploymentVersion",
    "DeploymentVersions",
    "InvalidClientRequest",
    "KeyInfo",
    "RunAnswer",
    "ServerRefused",
    "ServerStatus",
    "ServerUnreachable",
    "Tried",
    "Undeployed",
    "Upload",
    "WorkersStatus",
]
