"""Texts that run together, step by step: shares, reuse, faults, and memory."""

import gc
from collections.abc import Sequence

import pytest
import torch
from tests.unit.engines.text.batch_bench import (
    VOCABULARY,
    BatchBench,
    Loose,
    by_library,
    drawn,
    tiny_module,
    told,
)

from ourvidz_worker.domain.errors import AttemptError, OutOfMemory
from ourvidz_worker.engines.chat_sampling import draw_all
from ourvidz_worker.engines.text.packed import Span
from ourvidz_worker.engines.text.past import Past

LONG = [(7 * place + place * place) % VOCABULARY for place in range(400)]
PROMPTS = [[number + 3, 2 * number + 9, 5] for number in range(64)]


def test_every_text_that_is_written_gains_one_token_in_each_step() -> None:
    bench = BatchBench(prefill_tokens=500)
    texts = [bench.begin(prompt, max_tokens=40) for prompt in PROMPTS]
    bench.step()
    assert [len(drawn(text)) for text in texts] == [1] * 64
    for step in range(2, 12):
        bench.step()
        counts = [len(drawn(text)) for text in texts]
        assert counts == [step] * 64, "the furthest and the last are equally far"


def test_a_long_prompt_does_not_stop_those_that_are_written() -> None:
    bench = BatchBench(prefill_tokens=50)
    writers = [bench.begin(prompt, max_tokens=40) for prompt in PROMPTS[:3]]
    bench.step()
    reader = bench.begin(LONG)
    for step in range(2, 9):
        bench.step()
        assert [len(drawn(text)) for text in writers] == [step] * 3
        assert drawn(reader) == []
    bench.step()
    assert len(drawn(reader)) == 1, "400 tokens are read in 8 steps of 50"


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    bench = BatchBench(prefill_tokens=20)
    long, short = bench.begin(LONG), bench.begin(PROMPTS[0])
    bench.step()
    assert (len(drawn(short)), drawn(long)) == (1, [])
    assert long.left == 400 - 17


def test_a_long_prompt_is_read_though_short_ones_keep_coming() -> None:
    bench = BatchBench(prefill_tokens=20)
    long = bench.begin(LONG)
    for number in range(41):
        for place in range(5):
            bench.begin([number, place, *range(9)], max_tokens=1)
        bench.step()
    assert len(drawn(long)) >= 1, "it has a right to half of each step"


def test_what_is_said_does_not_depend_on_the_company() -> None:
    bench = BatchBench()
    module = tiny_module()
    texts = [bench.begin(prompt, max_tokens=12) for prompt in (*PROMPTS[:9], LONG)]
    bench.finish()
    assert [drawn(text) for text in texts] == [
        by_library(module, prompt, 12) for prompt in (*PROMPTS[:9], LONG)
    ]


def test_a_text_that_leaves_is_gone_before_the_next_token() -> None:
    bench = BatchBench(prefix_bytes=0)
    texts = [bench.begin(prompt, max_tokens=40) for prompt in PROMPTS[:4]]
    bench.step(3)
    held = bench.batch.cache_bytes
    bench.batch.leave(texts[1])
    assert bench.batch.cache_bytes == held * 3 / 4
    assert bench.batch.take_ended() == [texts[1]]
    bench.step(2)
    assert [len(drawn(text)) for text in texts] == [5, 3, 5, 5]


def test_a_texts_seed_alone_decides_its_draws() -> None:
    wild = {"temperature": 1.3, "max_tokens": 20, "frequency_penalty": 0.4}
    alone = BatchBench().written(PROMPTS[0], seed=5, **wild)
    bench = BatchBench()
    for number, prompt in enumerate(PROMPTS[1:12]):
        bench.begin(prompt, seed=number, temperature=0.9, max_tokens=5 + number)
    text = bench.begin(PROMPTS[0], seed=5, **wild)
    bench.finish()
    assert drawn(text) == alone


def test_ends_and_lengths_are_told_with_the_last_token() -> None:
    bench = BatchBench()
    whole = bench.written(PROMPTS[0], max_tokens=6)
    text = bench.begin(PROMPTS[0], max_tokens=6)
    bench.finish()
    part = told(text)
    assert (tuple(token.id for token in part.tokens), part.finish) == (tuple(whole), "length")
    first = whole.index(whole[4])
    ending = BatchBench(ends=[whole[4]])
    text = ending.begin(PROMPTS[0], max_tokens=6)
    ending.finish()
    part = told(text)
    assert ([token.id for token in part.tokens], part.finish) == (whole[:first], "stop")


# ---- what is computed once ------------------------------------------------------------------


def test_what_an_ended_text_computed_is_not_computed_again() -> None:
    bench = BatchBench(prefill_tokens=50)
    first = bench.written(LONG)
    text = bench.begin(LONG)
    bench.step()
    assert (len(drawn(text)), text.cached) == (1, 399), "one step, not eight"
    bench.finish()
    assert drawn(text) == first
    talk = [*LONG, *first, 8, 9]
    text = bench.begin(talk)
    bench.finish()
    assert text.cached == 400 + 7, "the last token that was drawn was never computed"
    assert drawn(text) == by_library(tiny_module(), talk, 8)


def test_equal_prompts_that_come_together_are_read_once() -> None:
    bench = BatchBench(prefill_tokens=50)
    wild = {"temperature": 1.0, "max_tokens": 4}
    texts = [bench.begin(LONG, seed=seed, **wild) for seed in range(4)]
    bench.step(8)
    assert [len(drawn(text)) for text in texts] == [1, 0, 0, 0]
    bench.step()
    assert [len(drawn(text)) for text in texts] == [2, 1, 1, 1]
    assert [text.cached for text in texts] == [0, 399, 399, 399]
    bench.finish()
    apart = BatchBench(prefix_bytes=0)
    assert [drawn(text) for text in texts] == [
        apart.written(LONG, seed=seed, **wild) for seed in range(4)
    ]


def test_a_common_beginning_is_taken_as_soon_as_it_is_read() -> None:
    bench = BatchBench(prefill_tokens=50)
    one = bench.begin(LONG)
    other = bench.begin([*LONG[:90], 1, 2, 3])
    bench.step(2)
    assert (one.left, other.past) == (300, None)
    bench.step()
    assert (len(drawn(other)), other.cached) == (1, 90)
    bench.finish()
    assert drawn(other) == by_library(tiny_module(), [*LONG[:90], 1, 2, 3], 8)


def test_a_twin_reads_itself_when_the_first_one_leaves() -> None:
    bench = BatchBench(prefill_tokens=50, prefix_bytes=1 << 20)
    one, other = bench.begin(LONG), bench.begin(LONG)
    bench.step(2)
    bench.batch.leave(one)
    bench.finish()
    assert other.cached == 100, "what the first had read is left to it"
    assert drawn(other) == by_library(tiny_module(), LONG, 8)


def test_without_a_budget_nothing_is_reused() -> None:
    bench = BatchBench(prefix_bytes=0)
    for _ in range(2):
        texts = [bench.begin(LONG) for _ in range(2)]
        bench.finish()
        assert [text.cached for text in texts] == [0, 0]
    assert bench.batch.cache_bytes == 0


# ---- faults -----------------------------------------------------------------------------------


def test_one_texts_broken_numbers_end_it_alone() -> None:
    module = tiny_module()
    with torch.no_grad():
        module.model.embed_tokens.weight[VOCABULARY - 1] = float("nan")
    bench = BatchBench(module)
    sound = [bench.begin(prompt) for prompt in PROMPTS[:3]]
    broken = bench.begin([4, VOCABULARY - 1])
    bench.finish()
    with pytest.raises(AttemptError) as caught:
        told(broken)
    assert caught.value.code == "GENERATION_ERROR"
    assert [drawn(text) for text in sound] == [
        by_library(tiny_module(), prompt, 8) for prompt in PROMPTS[:3]
    ]


def test_a_text_that_breaks_the_pass_ends_alone() -> None:
    bench = BatchBench()
    sound = bench.begin(PROMPTS[0])
    bench.step(2)
    broken = bench.begin([4, VOCABULARY + 7])
    bench.finish()
    with pytest.raises(AttemptError):
        told(broken)
    assert drawn(sound) == by_library(tiny_module(), PROMPTS[0], 8)


class Narrow(BatchBench):
    """A device on which a pass has room for so many tokens of all its texts' pasts."""

    def __init__(self, room: int, **options: Loose) -> None:
        super().__init__(**options)
        self.refused = 0
        run = self.model.run

        def narrow(spans: Sequence[Span]) -> torch.Tensor:
            if sum(span.past.length + len(span.ids) for span in spans) > room:
                self.refused += 1
                raise torch.OutOfMemoryError("no room")
            return run(spans)

        self.model.run = narrow  # type: ignore[method-assign]


def test_texts_that_do_not_fit_together_go_on_one_by_one() -> None:
    bench = Narrow(room=40)
    texts = [bench.begin(prompt, max_tokens=20) for prompt in PROMPTS[:4]]
    bench.finish()
    assert bench.refused > 0
    assert [drawn(text) for text in texts] == [
        by_library(tiny_module(), prompt, 20) for prompt in PROMPTS[:4]
    ]


def test_a_text_that_does_not_fit_alone_fails_alone() -> None:
    bench = Narrow(room=60)
    small = bench.begin(PROMPTS[0], max_tokens=20)
    large = bench.begin(LONG)
    bench.finish()
    with pytest.raises(OutOfMemory):
        told(large)
    assert drawn(small) == by_library(tiny_module(), PROMPTS[0], 20)


def test_a_draw_that_had_no_room_is_repeated_with_the_same_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wild: dict[str, Loose] = {"temperature": 1.2, "max_tokens": 12, "seed": 3}
    expected = BatchBench().written(PROMPTS[0], **wild)
    calls: list[int] = []

    def sometimes(samplers: Loose, logits: torch.Tensor) -> Loose:
        made = draw_all(samplers, logits)
        calls.append(len(samplers))
        if len(calls) % 3 == 1:
            raise torch.OutOfMemoryError("no room")
        return made

    monkeypatch.setattr("ourvidz_worker.engines.text.batch.draw_all", sometimes)
    bench = BatchBench(prefix_bytes=1 << 20)
    bench.written([*LONG, 1])
    bench.batch.forget()
    text = bench.begin(PROMPTS[0], **wild)
    other = bench.begin(PROMPTS[1], **wild)
    bench.finish()
    assert (drawn(text), len(drawn(other))) == (expected, 12)


def test_memory_that_is_short_at_a_texts_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = BatchBench()
    bench.written(LONG)
    held = bench.batch.cache_bytes
    take, refusals = Past._take, [1, 1, 1]

    def scarce(past: Past, room: int) -> torch.Tensor:
        if refusals:
            refusals.pop()
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return take(past, room)

    monkeypatch.setattr(Past, "_take", scarce)
    lost = bench.begin(PROMPTS[0])
    bench.step()
    with pytest.raises(OutOfMemory):
        told(lost)
    assert held > bench.batch.cache_bytes == 0, "what ended texts left goes first"
    text = bench.begin(PROMPTS[0])
    bench.finish()
    assert drawn(text) == by_library(tiny_module(), PROMPTS[0], 8)


# ---- memory ----------------------------------------------------------------------------------


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def test_thousands_of_short_texts_leave_no_more_than_the_budget() -> None:
    budget = 1 << 16
    bench = BatchBench(prefix_bytes=budget, prefill_tokens=2000)
    held, tensors = [], []
    for round_ in range(20):
        for number in range(250):
            seed = 250 * round_ + number
            prompt = [seed % 290, seed % 7, *range(16 + seed % 5)]
            bench.begin(prompt, seed=seed, temperature=1.0, max_tokens=1 + seed % 3)
        bench.finish()
        bench.batch.take_ended()
        held.append(bench.batch.cache_bytes)
        if round_ in (1, 19):
            tensors.append(live_tensors())
    assert max(held) <= budget
    assert tensors[1] <= tensors[0] + 5, "4,500 texts later as many tensors live as before"
    bench.batch.forget()
    assert bench.batch.cache_bytes == 0


def test_sixty_four_texts_gain_and_leave_alike() -> None:
    """Progress of the furthest to the last is 1, and a cancelled one gains no token more."""
    bench = BatchBench(prefill_tokens=64, prefix_bytes=0)
    texts = [bench.begin(prompt, max_tokens=60) for prompt in PROMPTS]
    bench.step(30)
    counts = [len(drawn(text)) for text in texts]
    assert max(counts) / min(counts) <= 1.5
    for text in texts[::2]:
        bench.batch.leave(text)
    left = [len(drawn(text)) for text in texts[::2]]
    bench.step(5)
    assert [len(drawn(text)) for text in texts[::2]] == left
    assert [len(drawn(text)) for text in texts[1::2]] == [count + 5 for count in counts[1::2]]
