"""`ourvidz-worker bench chat`: many users talk at once; how soon, how fast, how fairly."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import click
import msgspec
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.chat_figures import LoadFigures, figures_of
from ourvidz_worker.cli.chat_load import ChatLoad, find_words, run_load
from ourvidz_worker.cli.chat_prompts import Mix
from ourvidz_worker.cli.chat_wire import Exchange, Target
from ourvidz_worker.cli.progress import Bar, Bars
from ourvidz_worker.cli.tables import Table, show
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.errors import AttemptError, RequestError

MIXES: dict[str, tuple[Mix, ...]] = {
    "distinct": ("distinct",),
    "shared": ("shared",),
    "both": ("distinct", "shared"),
}
AT_LEAST_ONE = click.IntRange(min=1)


@click.command()
@click.option("--users", default="1,16,64", show_default=True, help="Users at once; several runs.")
@click.option("--requests", type=AT_LEAST_ONE, default=2, show_default=True, help="Of each user.")
@click.option("--tokens-in", type=AT_LEAST_ONE, default=128, show_default=True, help="A prompt's.")
@click.option("--tokens-out", type=AT_LEAST_ONE, default=128, show_default=True, help="At most.")
@click.option("--mix", type=click.Choice(list(MIXES)), default="distinct", show_default=True)
@click.option("--model", default="qwen_instruct", show_default=True)
@click.option("--extra", default="{}", metavar="JSON", help="Further members of each request.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Figures.")
@pod_options
def chat(*, pod: PodAccess, users: str, mix: str, file: Path | None, **rest: Any) -> None:  # noqa: ANN401
    """Let so many users talk to the chat model at once, and measure what they get.

    Prompts are common words drawn anew, so that nothing of them was computed before; with
    `--mix shared` three quarters of each are the same. Token counts are the pod's own. Exit
    code 3 when a request failed.
    """
    extra = _extra(rest.pop("extra"))
    loads = [
        ChatLoad(users=number, mix=kind, extra=extra, **rest)
        for kind in MIXES[mix]
        for number in _numbers(users)
    ]
    target = Target.of(pod.url, pod.key())
    found = list(measured(target, loads, Console(stderr=True)))
    show(figures_table(found), Console())
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    failures = [f"{code} x{n}" for figures in found for code, n in figures.failures.items()]
    if failures:
        raise AttemptError(f"Requests failed: {', '.join(failures)}.")


def measured(target: Target, loads: Sequence[ChatLoad], console: Console) -> Iterator[LoadFigures]:
    """The figures of each load, one after another; a bar shows how far each is."""
    words: dict[tuple[Mix, int], int] = {}
    clock = SystemClock()
    with Bars(console) as bars:
        for load in loads:
            bar = bars.add(f"{load.users} users, {load.mix}")
            kind = (load.mix, load.tokens_in)
            if kind not in words:
                bar.move("finding the length of a prompt")
                words[kind] = asyncio.run(find_words(target, load, clock))
            progress = _Progress(load, bar)
            users = asyncio.run(run_load(target, load, words[kind], clock, progress.count))
            figures = figures_of(load, users)
            bar.finish(f"{figures.tokens_per_s:.0f} tokens/s")
            yield figures


def figures_table(found: Sequence[LoadFigures]) -> Table:
    """One load a row; times in milliseconds."""
    titles = (
        "users",
        "mix",
        "answers",
        "failed",
        "in",
        "out",
        "tokens/s",
        "first p50",
        "first p95",
        "gap p50",
        "gap p95",
        "gap p99",
        "ratio",
    )
    return Table(titles, [_row(figures) for figures in found])


def _row(figures: LoadFigures) -> tuple[str, ...]:
    spans = (
        figures.first.p50,
        figures.first.p95,
        figures.gap.p50,
        figures.gap.p95,
        figures.gap.p99,
    )
    mean_out = figures.tokens / figures.answers if figures.answers else 0.0
    return (
        str(figures.load.users),
        figures.load.mix,
        str(figures.answers),
        str(sum(figures.failures.values())),
        f"{figures.prompt_tokens:.0f}",
        f"{mean_out:.0f}",
        f"{figures.tokens_per_s:.1f}",
        *(f"{span:.1f}" for span in spans),
        f"{figures.progress_ratio:.2f}",
    )


class _Progress:
    """Moves the bar of one load."""

    def __init__(self, load: ChatLoad, bar: Bar) -> None:
        """Nothing has ended."""
        self._expected = load.users * load.requests
        self._bar = bar
        self._ended = 0

    def count(self, _: Exchange) -> None:
        """One more answer has ended."""
        self._ended += 1
        detail = f"{self._ended} of {self._expected} answers"
        self._bar.move("talking", self._ended / self._expected, detail)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise RequestError("--users must be numbers with commas between.") from error
    if not numbers or min(numbers) < 1:
        raise RequestError("--users must be numbers of at least 1.")
    return numbers


def _extra(text: str) -> dict[str, object]:
    try:
        return cast(dict[str, object], msgspec.json.decode(text, type=dict))
    except msgspec.DecodeError as error:
        raise RequestError("--extra must be a JSON object.") from error
