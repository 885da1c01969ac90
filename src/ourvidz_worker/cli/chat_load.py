"""A load of chats on a running pod: so many users, each asking one question after another."""

import asyncio
from collections.abc import Callable
from itertools import count

import msgspec

from ourvidz_worker.cli.chat_answers import ChatAnswer, read_answer
from ourvidz_worker.cli.chat_prompts import ChatPrompts, Mix, Turn, words_for
from ourvidz_worker.cli.chat_wire import ChatConnection, Exchange, Target
from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import AttemptError

ROUTE = "/v1/chat/completions"


class ChatLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: `users` at once, `requests` from each, one after another.

    Lengths in tokens. `extra` are further members of each body. A pod ends a text at its
    deadline, by default 90 s (T-8); an answer that is not whole after `patience_s` counts as none.
    """

    users: int
    requests: int = 1
    tokens_in: int = 64
    tokens_out: int = 128
    mix: Mix = "distinct"
    model: str = "qwen_instruct"
    extra: dict[str, object] = {}
    patience_s: float = 150.0

    def body(self, turns: list[Turn], seed: int, tokens_out: int | None = None) -> bytes:
        """One question, as JSON."""
        return msgspec.json.encode(
            {
                "model": self.model,
                "messages": turns,
                "max_tokens": tokens_out or self.tokens_out,
                "seed": seed,
                "stream": True,
                "stream_options": {"include_usage": True},
                **self.extra,
            }
        )


async def find_words(target: Target, load: ChatLoad, clock: Clock) -> int:
    """How many words make a prompt of the load's length. Raises `AttemptError`, `Unavailable`."""
    connection = await ChatConnection.connect(target, clock)

    async def size_of(turns: list[Turn]) -> int:
        request = target.request(ROUTE, load.body(turns, seed=1, tokens_out=1))
        answer = read_answer(await _exchange(connection, request, load.patience_s, clock))
        if answer.failure or not answer.prompt_tokens:
            code = answer.failure or "NO_USAGE"
            raise AttemptError("The pod does not answer the first question.", code=code)
        return answer.prompt_tokens

    try:
        return await words_for(load.tokens_in, size_of, load.mix)
    finally:
        connection.close()


async def run_load(
    target: Target,
    load: ChatLoad,
    words: int,
    clock: Clock,
    tell: Callable[[Exchange], None] = lambda exchange: None,
) -> list[list[ChatAnswer]]:
    """Every user's answers, in order. All begin at once; `tell` hears of each answer as it ends.

    What is sent is made before, and what came is read afterwards: nothing but asking and
    listening happens meanwhile.

    A connection that breaks is a failed answer; its user goes on with a new one. Raises
    `Unavailable` when the pod cannot be reached at all.
    """
    prompts = ChatPrompts(load.mix, words)
    connections = await asyncio.gather(
        *(ChatConnection.connect(target, clock) for _ in range(load.users))
    )

    async def talk(connection: ChatConnection, questions: list[bytes]) -> list[Exchange]:
        heard = []
        for question in questions:
            if not connection.is_open:
                connection = await ChatConnection.connect(target, clock)
            heard.append(await _exchange(connection, question, load.patience_s, clock))
            tell(heard[-1])
        connection.close()
        return heard

    seeds = count(1)
    asked = [
        [
            target.request(ROUTE, load.body(prompts.turns(), next(seeds)))
            for _ in range(load.requests)
        ]
        for _ in connections
    ]
    talks = await asyncio.gather(*map(talk, connections, asked))
    return [[read_answer(exchange) for exchange in heard] for heard in talks]


async def _exchange(
    connection: ChatConnection, request: bytes, patience_s: float, clock: Clock
) -> Exchange:
    """Ask once; a broken connection and a silent pod are told as failures."""
    try:
        arrivals = await within(clock, patience_s, connection.ask(request))
    except ConnectionError:
        return Exchange(connection.asked_at or clock.monotonic(), [], "CONNECTION_LOST")
    except TimeoutError:
        connection.close()
        return Exchange(connection.asked_at, [], "NO_ANSWER")
    return Exchange(connection.asked_at, arrivals)
