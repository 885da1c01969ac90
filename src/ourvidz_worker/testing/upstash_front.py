"""A front before a real Redis that speaks as Upstash REST does (contract Q-2).

Written from the service's documentation: command as path, with the body appended verbatim as the
last argument; command as JSON array; `/pipeline` with an error for each element; `/multi-exec`;
the token as bearer or `_token`; replies in base64 when they are asked for so; blocking commands
refused; a failing command is HTTP 400. Each database has its own token. Faults can be ordered.
"""

import asyncio
import base64
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import hiredis
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

SECRET = "front"  # noqa: S105 - the beginning of every token of this front
LARGEST_BODY = 10 * 1024 * 1024

REFUSED = frozenset(
    {
        *("BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN"),
        *("SUBSCRIBE", "PSUBSCRIBE", "MONITOR", "WAIT", "MULTI", "EXEC", "WATCH", "SELECT"),
    }
)

Fault = Literal["500", "401", "html", "stall", "lost", "unanswered"]
"""`lost`: the command is done and the connection ends. `unanswered`: it is done and never told.
`stall`: nothing is done and nothing told. The others are replies."""

Argument = str | int | float
Command = Sequence[Argument | bytes]


class UpstashFront:
    """The front on a free port of this machine, on a thread of its own; `with` it."""

    def __init__(self, port: int) -> None:
        """Stand before the Redis server on that port."""
        self.faults: deque[Fault] = deque()
        self.requests = 0
        self._redis_port = port
        self._idle: dict[str, list[_Connection]] = {}
        self._connections: list[_Connection] = []
        # Named as TCP, or asyncio lets each reply wait 40 ms for an acknowledgement.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._server = _Server(self._application(), self._disconnect)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> "UpstashFront":
        self._thread.start()
        self._server.ready.wait()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @staticmethod
    def token(database: int = 0) -> str:
        """The token of one database."""
        return f"{SECRET}-{database}"

    def _application(self) -> Starlette:
        methods = ["GET", "POST", "PUT"]
        return Starlette(
            routes=[
                Route("/", self._answer, methods=["POST"]),
                Route("/{path:path}", self._answer, methods=methods),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        self.requests += 1
        fault = self.faults.popleft() if self.faults else None
        if fault == "stall":
            await asyncio.Event().wait()
        if fault in {"500", "html"}:
            return Response("<html>Bad gateway</html>", 500 if fault == "500" else 200)
        database = _database(request)
        if fault == "401" or database is None:
            return JSONResponse({"error": "Unauthorized"}, 401)
        body = await request.body()
        if len(body) > LARGEST_BODY:
            return JSONResponse({"error": "ERR max request size exceeded"}, 413)
        reply = await self._run(request, database, body)
        if fault == "unanswered":
            await asyncio.Event().wait()
        return _Broken() if fault == "lost" else reply

    async def _run(self, request: Request, database: str, body: bytes) -> Response:
        encoded = request.headers.get("Upstash-Encoding") == "base64"
        path = request.url.path.strip("/")
        if path not in {"pipeline", "multi-exec"}:
            told = await self._one(database, _command(request, path, body), encoded)
            return JSONResponse(told, 400 if "error" in told else 200)
        try:
            commands = msgspec.json.decode(body, type=list[list[Argument]])
        except msgspec.DecodeError:
            return JSONResponse({"error": "ERR failed to parse pipeline"}, 400)
        if path == "multi-exec":
            return await self._together(database, commands, encoded)
        return JSONResponse([await self._one(database, each, encoded) for each in commands])

    async def _one(self, database: str, command: Command | None, encoded: bool) -> dict[str, Any]:
        if not command:
            return {"error": "ERR failed to parse command"}
        word = str(command[0]).upper()
        if word in REFUSED:
            return {"error": f"ERR Command is not available: '{word}'"}
        (told,) = await self._send(database, [command])
        return _member(told, encoded)

    async def _together(
        self, database: str, commands: Sequence[Command], encoded: bool
    ) -> JSONResponse:
        *_, told = await self._send(database, [["MULTI"], *commands, ["EXEC"]])
        if isinstance(told, hiredis.ReplyError):
            return JSONResponse({"error": str(told)}, 400)
        return JSONResponse([_member(each, encoded) for each in told])

    async def _send(self, database: str, commands: Sequence[Command]) -> list[Any]:
        """The replies of commands on one connection; an error is one of them."""
        idle = self._idle.setdefault(database, [])
        try:
            connection = idle.pop() if idle else await self._connect(database)
            replies = [await connection.ask(command) for command in commands]
        except OSError as error:
            return [hiredis.ReplyError(f"ERR {error}")] * len(commands)
        idle.append(connection)
        return replies

    async def _connect(self, database: str) -> "_Connection":
        streams = await asyncio.open_connection("127.0.0.1", self._redis_port)
        connection = _Connection(*streams)
        self._connections.append(connection)
        await connection.ask(["SELECT", database])
        return connection

    async def _disconnect(self) -> None:
        for connection in self._connections:
            await connection.close()


class _Connection:
    """One connection to Redis, that gives every reply as it came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = hiredis.Reader()

    async def ask(self, command: Command) -> Any:  # noqa: ANN401 - whatever Redis says
        packed = tuple(map(_packable, command))
        self._writer.write(hiredis.pack_command(packed))  # type: ignore[arg-type] # any length
        while (reply := self._parser.gets()) is False:
            received = await self._reader.read(1 << 16)
            if not received:
                raise ConnectionResetError
            self._parser.feed(received)
        return reply

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, application: Starlette, last: Callable[[], Awaitable[None]]) -> None:
        settings = uvicorn.Config(application, log_level="critical", lifespan="off")
        super().__init__(settings)
        self.ready = threading.Event()
        self._last = last

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._last()


class _Broken(Response):
    """A reply that breaks off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"result":', "more_body": True})
        raise ConnectionResetError


def _packable(argument: Argument | bytes) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def _database(request: Request) -> str | None:
    """The database that a request's token opens, or None."""
    given = request.headers.get("Authorization", "")
    token = given.removeprefix("Bearer ") if given else request.query_params.get("_token", "")
    secret, _, database = token.partition("-")
    return database if secret == SECRET and database.isdecimal() else None


def _command(request: Request, path: str, body: bytes) -> Command | None:
    if not path:
        try:
            return msgspec.json.decode(body, type=list[Argument])
        except msgspec.DecodeError:
            return None
    command: list[Argument | bytes] = [*path.split("/")]
    if body:
        command.append(body)
    for key, value in request.query_params.items():
        if key != "_token":
            command += [key, value] if value else [key]
    return command


def _member(told: object, encoded: bool) -> dict[str, Any]:
    if isinstance(told, hiredis.ReplyError):
        return {"error": str(told)}
    return {"result": _json(told, encoded)}


def _json(told: Any, encoded: bool) -> Any:  # noqa: ANN401 - whatever Redis says
    if isinstance(told, list):
        return [_json(each, encoded) for each in told]
    if isinstance(told, bytes) and encoded and told != b"OK":
        return base64.b64encode(told).decode()
    return told.decode(errors="replace") if isinstance(told, bytes) else told
