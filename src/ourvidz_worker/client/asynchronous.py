"""The client for asyncio: each method is one call of the public API."""

from asyncio import to_thread
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from ourvidz_worker.client import calls
from ourvidz_worker.client.calls import Call, ChatOptions, Message
from ourvidz_worker.client.endings import ended_well
from ourvidz_worker.client.errors import ClientError, ConnectionFailed, error_of
from ourvidz_worker.client.feeds import ChatFeed, JobFeed
from ourvidz_worker.client.files import downloads
from ourvidz_worker.client.orders import (
    JobOptions,
    new_job,
    owner_of,
    pictures,
    with_references,
)
from ourvidz_worker.client.results import (
    Accepted,
    ChatReply,
    DeadCallback,
    DeadLetter,
    Health,
    JobEvent,
    JobView,
    ModelsMoved,
    SavedFile,
)
from ourvidz_worker.client.transport import (
    PATIENCE_S,
    RETRY_PAUSES_S,
    choose_id,
    connection_error,
    http_settings,
    timeout_of,
)
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.memory import MemoryReport, MemoryStatus, OperationReply
from ourvidz_worker.domain.receipt import Receipt

Result = TypeVar("Result")


class AsyncClient:
    """A pod at `url`, asked with `key`; one object may be used by several tasks.

    Every method raises a `ClientError`. `pause` waits a number of seconds between tries.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """Keep the address; nothing is sent before the first call."""
        settings = http_settings(url, key, timeout_s)
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=settings.headers,
            timeout=settings.timeout,
            transport=transport,
        )
        self._pause = pause or SystemClock().sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self) -> Health:
        """How the pod is; needs no key."""
        return await self._send(calls.health())

    async def submit(
        self, job_type: str, prompt: str | None = None, **options: Unpack[JobOptions]
    ) -> Accepted:
        """Hand in one job; with the same `job_id` and words it is the same job.

        References that are files here are stored at the pod first.
        """
        job = new_job(job_type, prompt, options)
        keys = {
            name: await self.keep_reference(owner_of(job), await to_thread(file.read_bytes))
            for name, file in pictures(options).items()
        }
        return await self.submit_job(new_job(job_type, prompt, with_references(options, keys)))

    async def submit_job(self, job: Mapping[str, Any]) -> Accepted:
        """Hand in a whole job object of the contract; without `id` it gets one."""
        job_id = choose_id(job)
        return await self._send(calls.create_job(job_id, {**job, "id": job_id}))

    async def job(self, job_id: str) -> JobView:
        """One job as it is now."""
        return await self._send(calls.find_job(job_id))

    async def jobs(
        self, *, status: str | None = None, user_id: str | None = None, limit: int = 20
    ) -> tuple[JobView, ...]:
        """The newest jobs first."""
        return (await self._send(calls.list_jobs(status, user_id, limit))).jobs

    async def cancel(self, job_id: str) -> None:
        """Ask for a job to be stopped; `wait` tells when it has."""
        await self._send(calls.cancel_job(job_id))

    async def receipt(self, job_id: str) -> Receipt:
        """The account of a job's last attempt."""
        return await self._send(calls.receipt(job_id))

    async def preview(self, job_id: str) -> bytes:
        """The newest preview (WEBP) of a running job."""
        return await self._send(calls.preview(job_id))

    async def keep_reference(self, user_id: str, picture: bytes) -> str:
        """Store a reference picture; the key returned may be named by that user's jobs."""
        return (await self._send(calls.keep_reference(user_id, picture))).reference

    async def memory_status(self) -> MemoryStatus:
        """How the device's memory is used; raises `NotNow` where the pod has no device."""
        return await self._send(calls.memory_status())

    async def memory_report(self) -> MemoryReport:
        """Every worker's memory, what is expected, and the last moves with their reasons."""
        return await self._send(calls.memory_report())

    async def load_model(self, which: str | None = None, *, force: bool = False) -> ModelsMoved:
        """Load a model; `force` evicts idle ones to make room."""
        return await self._send(calls.move_model("load", which, force=force))

    async def unload_model(self, which: str | None = None, *, force: bool = False) -> ModelsMoved:
        """Unload a model once its users have ended; `force` sends their work back to the queue."""
        return await self._send(calls.move_model("unload", which, force=force))

    async def operate(
        self,
        operation: str,
        *,
        target: str | None = None,
        required_gb: float | None = None,
        force: bool = False,
    ) -> OperationReply:
        """Carry out one operation on the device's memory."""
        return await self._send(calls.operate(operation, target, required_gb, force=force))

    async def dead_letters(self, *, limit: int = 50) -> tuple[DeadLetter, ...]:
        """What could not be worked, the newest first."""
        return (await self._send(calls.list_letters(limit))).letters

    async def replay_letter(self, letter_id: str) -> str | None:
        """Have a dead letter worked anew; its job's id, None where it names no job."""
        return (await self._send(calls.replay_letter(letter_id))).job_id

    async def dead_callbacks(self, *, limit: int = 50) -> tuple[DeadCallback, ...]:
        """The callbacks that the pod has given up, the newest first."""
        return (await self._send(calls.list_dead_callbacks(limit))).callbacks

    async def replay_callback(self, callback_id: int) -> None:
        """Have a dead callback sent again."""
        await self._send(calls.replay_callback(callback_id))

    async def events(
        self, job_id: str, *, after: int = 0, patience_s: float = PATIENCE_S
    ) -> AsyncGenerator[JobEvent]:
        """A job's events above number `after`, live, to the last one; breaks are mended."""
        feed = JobFeed(job_id, after=after, patience_s=patience_s)
        while not feed.ended:
            cause: ClientError | None = None
            try:
                async for event in self._connected(feed):
                    yield event
            except ClientError as error:
                cause = error
            if not feed.ended:
                await self._pause(feed.pause_s(cause))

    async def wait(self, job_id: str, *, tell: Callable[[JobEvent], None] | None = None) -> JobView:
        """Follow a job to its end and return it; `tell` is called with each event.

        Raises `JobFailed` and `JobCancelled` for those ends.
        """
        async for event in self.events(job_id):
            if tell is not None:
                tell(event)
        return ended_well(await self.job(job_id))

    async def save_assets(self, view: JobView, folder: Path) -> tuple[SavedFile, ...]:
        """Download a job's results and thumbnails into `folder`, each whole or not at all."""
        saved = []
        for item in downloads(view, folder):
            content = await self._send(item.call) if item.call else item.text.encode()
            saved.append(await to_thread(item.write, content))
        return tuple(saved)

    async def chat(self, messages: Sequence[Message], **options: Unpack[ChatOptions]) -> ChatReply:
        """Have a text written, and wait for it."""
        return await self._send(calls.chat(messages, options, stream=False))

    async def chat_stream(
        self, messages: Sequence[Message], **options: Unpack[ChatOptions]
    ) -> AsyncGenerator[str | ChatReply]:
        """Have a text written: pieces as they come, then the reply. Closing it stops the work."""
        call = calls.chat(messages, options, stream=True)
        feed = ChatFeed()
        chunks = self._chunks(call.method, call.path, call.headers(), call.body)
        async with aclosing(chunks):
            async for chunk in chunks:
                for piece in feed.take(chunk):
                    yield piece
        feed.close()

    async def _send(self, call: Call[Result]) -> Result:
        for pause_s in RETRY_PAUSES_S if call.repeatable else ():
            try:
                return await self._once(call)
            except ConnectionFailed:
                await self._pause(pause_s)
        return await self._once(call)

    async def _once(self, call: Call[Result]) -> Result:
        try:
            answer = await self._http.request(
                call.method,
                call.path,
                params=dict(call.query),
                content=call.body,
                headers=call.headers(),
                timeout=timeout_of(call.patience_s, self._http.timeout),
            )
        except httpx.RequestError as error:
            raise connection_error(self.url, error) from error
        return call.read(answer.status_code, answer.content)

    async def _connected(self, feed: JobFeed) -> AsyncGenerator[JobEvent]:
        chunks = self._chunks("GET", feed.path, feed.headers(), None)
        async with aclosing(chunks):
            async for chunk in chunks:
                for event in feed.take(chunk):
                    yield event
                if feed.ended:
                    return

    async def _chunks(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncGenerator[bytes]:
        try:
            stream = self._http.stream(method, path, headers=dict(headers), content=body)
            async with stream as answer:
                if not answer.is_success:
                    raise error_of(answer.status_code, await answer.aread())
                async for chunk in answer.aiter_bytes():
                    yield chunk
        except httpx.RequestError as error:
            raise connection_error(self.url, error) from error
