#!/usr/bin/env python3
"""Show the whole system once: a chat answer, three pictures and a clip, asked for all at once.

Usage: demo.py [--engine fake] [--out FOLDER]      exits 0 when everything came, else 1

Starts a pod with a fresh state folder on free ports, waits until its models are loaded, hands in
the three jobs through the client, shows their progress, saves their files, and stops the pod.
"""

import argparse
import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ourvidz_worker.cli.progress import Bar, Bars
from ourvidz_worker.cli.tables import Table, files_table, show
from ourvidz_worker.cli.watching import JobWatch
from ourvidz_worker.client import (
    AsyncClient,
    ClientError,
    ConnectionFailed,
    JobOptions,
    JobView,
    SavedFile,
)
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.testing.pod_process import PodProcess

ROOT = Path(__file__).resolve().parent.parent
LOOK_EVERY_S = 0.2
LOAD_S = 300.0
"""Loading takes under 20 s on two cores; a cold disk and a busy machine take longer."""

MODELS = {
    "sdxl_loaded": "image model",
    "instruct_loaded": "chat model",
    "wan_loaded": "video model",
}
ON_DEMAND = "wan_loaded"


@dataclass(frozen=True)
class Wish:
    """One job of the demo."""

    name: str
    job_type: str
    prompt: str
    options: JobOptions


WISHES = (
    Wish(
        "answer",
        "chat_conversation",
        "What makes a good picture? Answer in two sentences.",
        {"config": {"max_tokens": 80, "temperature": 0}},
    ),
    Wish("apples", "sdxl_image_fast", "a red apple on a blue background", {"count": 3, "seed": 7}),
    Wish("clip", "video_fast", "a red heart grows on a white background", {"seed": 11}),
)


@dataclass(frozen=True)
class Result:
    """What came of one job."""

    wish: Wish
    view: JobView
    files: tuple[SavedFile, ...]
    receipt: Receipt


class DemoFailed(Exception):
    """The demo could not be shown."""


def main(arguments: list[str]) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=["fake"], help="use no model at all")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-output")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    out = chosen.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    options = ["--engine", chosen.engine] if chosen.engine else []
    with PodProcess(out / "state", log=out / "pod.log", arguments=options) as pod:
        console.print(f"a pod at {pod.url} with its state in {shorter(pod.state)}")
        try:
            results = asyncio.run(show_all(pod, out, console))
        except (ClientError, DemoFailed) as error:
            console.print(f"the demo failed: {error}\n{pod.last_words()}", markup=False)
            return 1
        tell(results, console)
        code = pod.stop()
    console.print(f"the pod stopped with exit code {code}")
    return 0 if code == 0 else 1


async def show_all(pod: PodProcess, out: Path, console: Console) -> list[Result]:
    """Wait for the models, then have every wish fulfilled at the same time."""
    with Bars(console) as bars:
        await loaded(pod, {name: bars.add(label) for name, label in MODELS.items()})
    async with AsyncClient(pod.url, pod.key()) as client:
        with Bars(console) as bars:
            watched = [(wish, JobWatch(bars.add(wish.name))) for wish in WISHES]
            return await asyncio.gather(
                *(fulfil(client, wish, watch, out) for wish, watch in watched)
            )


async def loaded(pod: PodProcess, bars: dict[str, Bar]) -> None:
    """Return when every model is loaded. Raises `DemoFailed` when that does not happen."""
    clock = SystemClock()
    begun, waiting = clock.monotonic(), dict(bars)
    for bar in bars.values():
        bar.move("loading")
    async with AsyncClient(pod.url) as client:
        while waiting:
            if not pod.is_alive() or clock.monotonic() - begun > LOAD_S:
                raise DemoFailed("the pod did not get ready")
            await clock.sleep(LOOK_EVERY_S)
            ready = await models_loaded(client)
            for name in [name for name in waiting if ready.get(name)]:
                waiting.pop(name).finish("loaded")
            if set(waiting) == {ON_DEMAND} and await has_a_card(client):
                waiting.pop(ON_DEMAND).finish("comes with its job")


async def has_a_card(client: AsyncClient) -> bool:
    """True when the pod rations a device's memory: the video model then comes when it is asked."""
    try:
        await client.memory_status()
    except ClientError:
        return False
    return True


async def models_loaded(client: AsyncClient) -> dict[str, object]:
    """Which models the pod has loaded; none while it does not answer."""
    try:
        return dict((await client.health()).models_loaded)
    except ConnectionFailed:
        return {}


async def fulfil(client: AsyncClient, wish: Wish, watch: JobWatch, out: Path) -> Result:
    """One job from its words to its files. Raises `ClientError`."""
    options: JobOptions = {**wish.options, "job_id": wish.name}
    await client.submit(wish.job_type, wish.prompt, **options)
    try:
        view = await client.wait(wish.name, tell=watch.tell)
    except ClientError as error:
        watch.broke(error)
        raise
    files = await client.save_assets(view, out)
    return Result(wish, view, files, await client.receipt(wish.name))


def tell(results: list[Result], console: Console) -> None:
    """Print the answer, where the files are, and how long each stage took."""
    for result in results:
        for asset in result.view.assets:
            if asset.text is not None:
                console.print(f"\n> {result.wish.prompt}\n{asset.text}", markup=False)
    console.print()
    tables = [files_table(result.view, result.files) for result in results]
    rows = [(shorter(Path(row[0])), *row[1:]) for table in tables for row in table.rows]
    show(Table(tables[0].titles, rows), console)
    console.print()
    stages = [
        (result.wish.name, stage.stage, f"{stage.seconds:.2f} s")
        for result in results
        for stage in result.receipt.stages
    ]
    show(Table(("job", "stage", "time"), stages), console)
    console.print()


def shorter(path: Path) -> str:
    """A path as a person in the project's folder writes it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
