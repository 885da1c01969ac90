"""The outermost layer: every request gets an id, every error becomes a problem (border 2 of 3)."""

import logging
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ourvidz_worker.api.problems import SERVER_FAULT, kind_of, problem_response
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

REQUEST_ID = "ourvidz.request_id"
"""Where the scope of a request holds its id."""


class Border:
    """Wraps the routes; what leaves it is a reply of theirs or a problem, never a traceback."""

    def __init__(self, routes: ASGIApp) -> None:
        """`routes` answers HTTP and lifespan."""
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope[REQUEST_ID] = str(uuid4())
        has_begun = False

        async def send_named(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._routes(scope, receive, send_named)
        except ClientDisconnect:
            return
        except OurvidzError as error:
            failure = error
            _record(scope, failure)
        except Exception as error:  # border 2 of 3
            log.exception("request broke", extra=_named(scope, Action.REQUEST_BROKE))
            failure = OurvidzError(cause=repr(error))
        else:
            return
        if not has_begun:
            reply = problem_response(failure, request_id, path=scope["path"])
            await reply(scope, receive, send_named)


def _record(scope: Scope, failure: OurvidzError) -> None:
    """Callers' own faults are not logged; ours are, with the facts that nobody else is told."""
    if kind_of(type(failure)).status >= SERVER_FAULT:
        facts = {"code": failure.code, "facts": failure.facts}
        log.warning("request failed", extra=_named(scope, Action.REQUEST_FAILED) | facts)


def _named(scope: Scope, action: Action) -> dict[str, object]:
    return {"action": action, "request_id": scope[REQUEST_ID], "method": scope["method"]}
