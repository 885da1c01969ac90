"""`ourvidz-worker chat`: talk to the chat model; answers appear as they are written."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import click

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.client import ChatOptions, ChatReply, Client
from ourvidz_worker.clock import Clock, SystemClock

Turn = dict[str, str]

RESET = "/reset"
"""Typed as a line of its own, it begins the talk anew; it is sent to no model."""


@click.command()
@click.argument("question", required=False)
@click.option(
    "--system",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with a system turn of your own.",
)
@click.option("--max-tokens", type=int, help="Longest answer.")
@click.option("--temperature", type=float, help="0 is greedy.")
@click.option("--seed", type=int, help="The same seed writes the same answer.")
@click.option("--model", help="qwen_instruct or qwen_base.")
@pod_options
def chat(*, pod: PodAccess, question: str | None, system: Path | None, **rest: Any) -> None:  # noqa: ANN401
    """Ask QUESTION and leave, or talk until Ctrl-D.

    Nothing is added to what you write. The whole talk is sent with each question; a line /reset
    begins it anew. The answer goes to standard output, its speed to standard error.
    """
    given = {name: value for name, value in rest.items() if value is not None}
    with pod.open() as client:
        talk = Conversation(client, cast(ChatOptions, given), system)
        if question is not None:
            talk.ask(question)
            return
        for line in _lines():
            if line == RESET:
                talk.reset()
            else:
                talk.ask_patiently(line)


class Conversation:
    """A history of turns, all of them sent with each question."""

    def __init__(
        self,
        client: Client,
        options: ChatOptions,
        system: Path | None,
        clock: Clock | None = None,
    ) -> None:
        """`system` is a file that holds the first turn."""
        self._client = client
        self._options = options
        self._clock = clock or SystemClock()
        self._first: list[Turn] = []
        if system is not None:
            self._first.append({"role": "system", "content": system.read_text(encoding="utf-8")})
        self._turns = self._first

    def reset(self) -> None:
        """Forget all turns but the system's."""
        self._turns = self._first

    def ask(self, question: str) -> ChatReply | None:
        """Print the answer as it comes, then its speed on standard error; keep both turns."""
        turns = [*self._turns, {"role": "user", "content": question}]
        said, reply, first_s = "", None, None
        asked_at = self._clock.monotonic()
        with closing(self._client.chat_stream(turns, **self._options)) as pieces:
            for piece in pieces:
                if isinstance(piece, ChatReply):
                    reply = piece
                else:
                    first_s = first_s or self._clock.monotonic() - asked_at
                    said += piece
                    click.echo(piece, nl=False)
        click.echo()
        answer = reply.response if reply else said
        self._turns = [*turns, {"role": "assistant", "content": answer}]
        if reply:
            click.echo(_speed(reply, first_s), err=True)
        return reply

    def ask_patiently(self, question: str) -> None:
        """Ask; Ctrl-C stops this answer alone, and the question is forgotten."""
        try:
            self.ask(question)
        except KeyboardInterrupt:
            click.echo("\n(stopped)", err=True)


def _lines() -> Iterator[str]:
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if line:
            yield line


def _speed(reply: ChatReply, first_s: float | None) -> str:
    """How many tokens, how fast, how long until the first could be read, and why it ended."""
    rate = f"{reply.tokens_per_s:.1f} tokens/s" if reply.tokens_per_s else ""
    first = f"the first after {first_s:.2f} s" if first_s is not None else ""
    words = (f"{reply.tokens_generated} tokens", rate, first, reply.finish_reason)
    return f"[{', '.join(word for word in words if word)}]"
