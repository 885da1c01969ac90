"""Answers that are none: a connection that ends, and one that stays silent."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

CUT = "ourvidz.cut"


class Cut(Response):
    """The connection ends without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End the connection, then wait until the server has noticed."""
        scope[CUT]()
        await _gone(receive)


class Silence(Response):
    """Nothing is answered until the caller leaves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until the caller leaves."""
        await _gone(receive)


class CuttableProtocol(H11Protocol):
    """HTTP/1.1 that shows an application how to end its connection."""

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Give every request on this connection the way to end it."""
        super().connection_made(transport)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await inner({**scope, CUT: transport.abort}, receive, send)

        self.app = app


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
