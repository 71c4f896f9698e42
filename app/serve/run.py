"""The endpoint in this process, until a signal ends it."""

import asyncio
import logging
import socket

import uvicorn

from app.errors import BadInput
from app.serve.http import Served, application
from model.errors import why

_MOST = 64
"""Connections at once; more are told to come back."""

_ENDED_WITHIN = 3
"""Seconds that answers under way have when it ends."""


def listen(host: str, port: int) -> socket.socket:
    """
    :raises BadInput: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = why(error) if isinstance(error, OSError) else str(error)
        raise BadInput(f"{host}, port {port}, cannot be had: {reason}.", "Give another --port.") from None
    return listener


class _Expected(logging.Filter):
    """Keeps quiet about answers that were cut off because the server ends: nothing failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or not issubclass(kind, asyncio.CancelledError)


def server(served: Served) -> uvicorn.Server:
    """What runs until a signal, which it raises again at its end, or until `should_exit` is set."""
    logging.getLogger("uvicorn.error").addFilter(_Expected())
    return uvicorn.Server(
        uvicorn.Config(
            application(served),
            log_config=None,  # its log would hold what is asked for; errors come as Python's own
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST,
            timeout_graceful_shutdown=_ENDED_WITHIN,
            lifespan="off",
            ws="none",
        )
    )


def url_of(listener: socket.socket) -> str:
    """The base URL that a client is given."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
