"""Errors as REST and management answer them."""

from loguru import logger
from starlette.types import ASGIApp, Send

from hayhooks.surfaces._http import HTTPOptions, error_body, errors_answered, send_json


def rest_errors_answered(app: ASGIApp, options: HTTPOptions) -> ASGIApp:
    """*app* with every exception answered in the shape of REST; what nobody foresaw is logged."""

    async def fail(error: BaseException, send: Send) -> None:
        status, body, headers = error_body(error, show_tracebacks=options.show_tracebacks)
        await send_json(send, status, body, headers)

    return errors_answered(app, fail, _log)


def _log(what: str, error: BaseException) -> None:
    logger.opt(exception=error).error("{}", what)
