"""The sockets a server listens on, bound before anything else is done: a taken port is known at once."""

import errno
import os
import socket
from collections.abc import Sequence

_ATTEMPTS = 5


class CannotListen(OSError):
    """The address cannot be listened on; the message says why and what to do."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for every address of *host*, all on the same port; they do not listen yet. Port 0 takes a free one.

    Raises:
        CannotListen: The port is taken, may not be used, or the host has no address here.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"Cannot listen on {host!r}: {error.strerror or error}.") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for attempt in range(_ATTEMPTS):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            # With port 0 the first address chose a port; it may be taken on the second one.
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS - 1:
                continue
            raise cannot_listen(host, port, error) from None
    raise AssertionError("unreachable")


def cannot_listen(host: str, port: int, error: OSError) -> CannotListen:
    """*error* with what can be done about it."""
    if error.errno == errno.EADDRINUSE:
        what = "the port is in use. Stop what listens there, or choose another with --port or HAYHOOKS_PORT"
    elif error.errno == errno.EACCES:
        what = "this user may not listen on that port. Choose one from 1024 up with --port or HAYHOOKS_PORT"
    else:
        what = error.strerror or str(error)
    return CannotListen(f"Cannot listen on {host}:{port}: {what}.")


def waiting_in(listening: Sequence[socket.socket]) -> list[socket.socket]:
    """Connections that wait to be accepted; *listening* is closed.

    To their callers they are established: closing alone would reset them, without a word.
    """
    waiting = []
    for sock in listening:
        sock.setblocking(False)
        try:
            while True:
                connection, _ = sock.accept()
                connection.setblocking(False)
                waiting.append(connection)
        except OSError:  # there are no more
            sock.close()
    return waiting


def _bind_all(addresses: Sequence[tuple[int, tuple[object, ...]]], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    failed: OSError | None = None
    try:
        for family, address in addresses:
            try:
                one = _bind_one(family, (address[0], port, *address[2:]))
            except OSError as error:
                # localhost means ::1, too, on machines that have no IPv6.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failed = error
                continue
            bound.append(one)
            port = one.getsockname()[1]
    except BaseException:
        for one in bound:
            one.close()
        raise
    if not bound and failed is not None:
        raise failed
    return bound


def _bind_one(family: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere the option means that others may take the port away
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one
