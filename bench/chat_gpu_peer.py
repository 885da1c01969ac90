"""Plain vLLM, without anything of ours around it: the mark that the chat lane is measured by.

Usage: python -m bench.chat_gpu_peer FOLDER --out FILE [--loads 1x6,16x3,64x4]

Its asynchronous engine in this process, token ids in, the same engine arguments as our text
engine's. Writes one JSON object for each load to FILE as it ends.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.chat_gpu_load import Text, prompt, read_counts, seen
from ourvidz_worker.engines.text.vllm_library import Library, open_library
from ourvidz_worker.engines.text.vllm_options import engine_arguments, read_options

CONTEXT = 32_768
CAPACITY = 256


def main(arguments: Sequence[str]) -> int:
    """Measure every load."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--loads", default="1x6,16x3,64x4")
    parser.add_argument("--tokens-in", type=int, default=256)
    parser.add_argument("--tokens-out", type=int, default=256)
    parser.add_argument("--load-format", default="dummy")
    chosen = parser.parse_args(arguments)
    library = open_library()
    try:
        from uvloop import run  # noqa: PLC0415 - as our own engine: where it is installed
    except ImportError:
        run = asyncio.run
    run(measure(library, chosen))
    return 0


async def measure(library: Library, chosen: argparse.Namespace) -> None:
    """Start, warm up, and go through the loads; each is written down as it ends."""
    options = read_options({"load_format": chosen.load_format})
    told = engine_arguments(
        chosen.folder, options, context=CONTEXT, capacity=CAPACITY, dtype="bfloat16"
    )
    del told["worker_cls"]
    begun = time.perf_counter()
    engine = library.engine.from_engine_args(library.engine_arguments(**told))
    print(f"peer started in {time.perf_counter() - begun:.1f} s", flush=True)
    peer = Peer(engine, library, chosen.tokens_in, chosen.tokens_out)
    try:
        await peer.load(16, 1)
        with chosen.out.open("wb") as out:
            for users, questions in read_counts(chosen.loads):
                figures = seen(users, await peer.load(users, questions))
                out.write(msgspec.json.encode(figures) + b"\n")
                out.flush()
                print(f"peer {msgspec.json.encode(figures).decode()}", flush=True)
    finally:
        engine.shutdown()


class Peer:
    """Users of one engine."""

    def __init__(self, engine: Any, library: Library, tokens_in: int, tokens_out: int) -> None:  # noqa: ANN401
        """Lengths in tokens."""
        self._engine = engine
        self._library = library
        self._tokens_in, self._tokens_out = tokens_in, tokens_out
        self._chance = random.Random(1)  # noqa: S311 - variety, no secret
        self._asked = 0

    async def load(self, users: int, questions: int) -> list[Text]:
        """So many users at once, each asking one question after another; all their answers."""
        talks = await asyncio.gather(*(self._talk(questions) for _ in range(users)))
        return [text for talk in talks for text in talk]

    async def _talk(self, questions: int) -> list[Text]:
        return [await self._ask() for _ in range(questions)]

    async def _ask(self) -> Text:
        self._asked += 1
        ids = prompt(self._tokens_in, self._chance)
        parameters = self._library.sampling(
            temperature=0.0,
            max_tokens=self._tokens_out,
            ignore_eos=True,
            detokenize=False,
            output_kind=self._library.deltas,
        )
        text = Text(asked_at=time.perf_counter())
        given = {"prompt_token_ids": ids}
        async for output in self._engine.generate(given, parameters, f"peer-{self._asked}"):
            text.note(len(output.outputs[0].token_ids))
        return text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
