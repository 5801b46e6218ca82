"""Push notifications: what a task says is posted to where its caller asked for it, if that is an allowed place.

Callers name the address, so the server must not be led to where callers cannot go themselves (server-side request
forgery). Only hosts that the server's owner has named are called. ``*`` stands for every host whose addresses are all
public; the address that was checked is the one that is called, so that a name cannot be pointed elsewhere between.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from a2a.server.tasks.push_notification_config_store import PushNotificationConfigStore
from a2a.server.tasks.push_notification_sender import PushNotificationEvent, PushNotificationSender
from a2a.types.a2a_pb2 import TaskPushNotificationConfig
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict
from loguru import logger

from hayhooks.core.names import printable

_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_BACKOFF_S = 0.5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_WAITING = 1000  # notifications of one task, for a receiver that is slow


@dataclass(frozen=True, slots=True)
class Target:
    """Where one notification goes: a host by name, and the addresses that were found for it."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    path: str

    def url(self, attempt: int = 0) -> str:
        """The URL with an address in place of the name; each attempt takes the next."""
        found = self.addresses[attempt % len(self.addresses)]
        address = f"[{found}]" if ":" in found else found
        return f"{self.scheme}://{address}:{self.port}{self.path}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.scheme == "https" else 80)
        return host if is_usual else f"{host}:{self.port}"


class Targets:
    """The hosts that may be called: names, each with a port or for all ports, and ``*`` for every public one."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(entry.lower() for entry in allowed)

    def __bool__(self) -> bool:
        return bool(self._allowed)

    async def is_allowed(self, url: str) -> bool:
        """Whether notifications may go there."""
        return await self.find(url) is not None

    async def find(self, url: str) -> Target | None:
        """The target of *url*, or None when it may not be called or does not exist."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
            return None
        port = port or (443 if parts.scheme == "https" else 80)
        is_named = host in self._allowed or f"{host}:{port}" in self._allowed
        if not is_named and "*" not in self._allowed:
            return None
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return None
        addresses = [str(info[4][0]) for info in found]
        if not addresses or not (is_named or all(map(_is_public, addresses))):
            return None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, tuple(dict.fromkeys(addresses)), path)


class PushSender(PushNotificationSender):
    """Posts what tasks say, in order for each task, and never holds a task up. Event loop only."""

    def __init__(self, configs: PushNotificationConfigStore, targets: Targets) -> None:
        self._configs = configs
        self._targets = targets
        # No proxy of the environment's: it would find out addresses by itself. No redirects: they lead elsewhere.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)
        self._queues: dict[str, asyncio.Queue[PushNotificationEvent]] = {}
        self._posting: dict[str, asyncio.Task[None]] = {}

    async def send_notification(self, task_id: str, event: PushNotificationEvent) -> None:
        """Post *event* soon to whoever asked for it."""
        queue = self._queues.get(task_id)
        if queue is None:
            if not await self._configs.get_info_for_dispatch(task_id):
                return
            queue = self._queues.setdefault(task_id, asyncio.Queue(_WAITING))
        if queue.full():
            queue.get_nowait()  # the oldest: what comes last matters most
        queue.put_nowait(event)
        if task_id not in self._posting:
            self._posting[task_id] = asyncio.create_task(self._post_all(task_id, queue))

    async def close(self) -> None:
        """Stop posting, after a moment for what is under way."""
        posting = list(self._posting.values())
        if posting:
            await asyncio.wait(posting, timeout=1.0)
        for task in posting:
            task.cancel()
        if posting:
            await asyncio.wait(posting)
        await self._client.aclose()

    async def _post_all(self, task_id: str, queue: "asyncio.Queue[PushNotificationEvent]") -> None:
        try:
            while not queue.empty():
                event = queue.get_nowait()
                body = MessageToDict(to_stream_response(event))
                configs = await self._configs.get_info_for_dispatch(task_id)
                await asyncio.gather(*(self._post(config, body) for config in configs))
        except Exception as error:  # a boundary: nobody waits for it
            logger.opt(exception=error).error("Notifications of task {} could not be sent", task_id)
        finally:
            self._posting.pop(task_id, None)
            self._queues.pop(task_id, None)

    async def _post(self, config: TaskPushNotificationConfig, body: dict[str, Any]) -> None:
        why = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_BACKOFF_S * 2**attempt)
            target = await self._targets.find(config.url)  # again: what was allowed may lead elsewhere by now
            if target is None:
                why = "the address may not be called, or cannot be found"
                break
            try:
                answer = await self._client.post(
                    target.url(attempt),
                    json=body,
                    headers={"host": target.authority, **_headers(config)},
                    extensions={"sni_hostname": target.host},
                )
            except (httpx.HTTPError, ValueError) as error:
                why = type(error).__name__
                continue
            if answer.is_success:
                return
            why = f"it answered {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                break
        host = printable(urlsplit(config.url).hostname or "", 80)
        logger.warning("A notification of task {} to {} was not taken: {}", config.task_id, host, why)


def _headers(config: TaskPushNotificationConfig) -> dict[str, str]:
    headers = {"content-type": "application/a2a+json"}
    if config.token:
        headers["x-a2a-notification-token"] = config.token
    if config.authentication.scheme and config.authentication.credentials:
        headers["authorization"] = f"{config.authentication.scheme} {config.authentication.credentials}"
    return headers


def _is_public(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # Addresses of the older family in those of the newer: mapped, 6to4, and NAT64 (RFC 6052).
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if found.version == 6 and found in _NAT64:
        inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    found = inner or found
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)
