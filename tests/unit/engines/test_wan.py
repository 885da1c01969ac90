"""The clip engine end to end, on tiny random checkpoints with and without VACE blocks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.unit.engines.engine_bench import PICTURE, Bench, Loose, clip_with, load

from ourvidz_worker.domain.errors import (
    AttemptError,
    InvalidPrompt,
    ModelLoadFailed,
    OutOfMemory,
    RequestError,
    StopRequested,
)
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.engines.tokens import ids_digest
from ourvidz_worker.engines.wan_text import ClipTokens
from ourvidz_worker.testing.check_engine import compute, digests
from ourvidz_worker.testing.gate import RecordingGate

Photo = Callable[..., Path]


def test_a_clip_is_an_mp4_with_the_contract_s_metadata(clips: Bench) -> None:
    (artifact,) = clips.run(clip_with(negative_prompt="bad", frames=9), seed=4).artifacts
    said = dict(artifact.metadata)
    assert said.pop("file_size_bytes") == artifact.size_bytes
    assert said == {
        "seed": 4,
        "generation_seed": 4,
        "steps": 2,
        "num_inference_steps": 2,
        "effective_steps": 2,
        "guidance_scale": 5.0,
        "pipeline": "txt2video",
        "negative_prompt_used": True,
        "sample_solver": "dpm++",
        "sample_shift": 5.0,
        "width": 32,
        "height": 48,
        "format": "mp4",
        "frame_num": 9,
        "fps": 16,
        "duration_seconds": 9 / 16,
        "codec": "h264",
        "asset_index": 0,
    }


def test_a_still_is_a_png(clips: Bench) -> None:
    (artifact,) = clips.run(clip_with(frames=1)).artifacts
    assert (artifact.media, artifact.media_type) == (Media.IMAGE, "image/png")
    assert artifact.file == "0.png"
    assert artifact.metadata["pipeline"] == "txt2img"
    assert artifact.metadata["batch_size"] == 1
    assert "frame_num" not in artifact.metadata


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 3},
        {"guidance": 2.0},
        {"solver": "unipc"},
        {"shift": 2.0},
        {"negative_prompt": "bad"},
        {"prompt": "a blue apple"},
    ],
)
def test_every_parameter_takes_effect(clips: Bench, changes: dict[str, Any]) -> None:
    plain = clips.compute(clip_with()).latents
    changed = clips.compute(clip_with(**changes)).latents
    assert not torch.equal(plain, changed)
    assert torch.equal(plain, clips.compute(clip_with()).latents)


def test_an_absent_negative_is_the_empty_text(clips: Bench) -> None:
    absent, empty = (clips.run(clip_with(negative_prompt=text)) for text in (None, ""))
    assert digests(absent) == digests(empty)
    text = clips.engine._loaded.text  # type: ignore[attr-defined]
    assert absent.fed["text_encoder:negative"] == ids_digest([text._end])
    single = clips.run(clip_with(guidance=1.0, negative_prompt="bad"))
    assert set(single.fed) == {"text_encoder"}
    assert single.artifacts[0].metadata["negative_prompt_used"] is False


@pytest.mark.parametrize("prompt", ["--help me", "two\nlines", "🎉 party", "a  b", "</s><pad>", ""])
def test_prompts_are_fed_byte_for_byte(clips: Bench, prompt: str) -> None:
    text = clips.engine._loaded.text  # type: ignore[attr-defined]
    product = clips.run(clip_with(prompt=prompt, frames=1))
    tokens = text.tokenise(prompt)
    assert product.fed["text_encoder"] == ids_digest(tokens.ids)
    assert tokens.ids[-1] == 1
    assert not {0, 1} & set(tokens.ids[:-1]), "no mark can be forged"


def test_more_than_512_tokens_are_refused_with_the_count(clips: Bench) -> None:
    text = clips.engine._loaded.text  # type: ignore[attr-defined]
    long = "apple " * 400
    count = text.tokenise(long, truncate=True).count
    assert count > 512
    with pytest.raises(InvalidPrompt, match=f"{count} tokens"):
        clips.compute(clip_with(prompt=long))
    with pytest.raises(InvalidPrompt):
        clips.compute(clip_with(negative_prompt=long))
    cut = clips.run(clip_with(prompt=long, allow_truncation=True, frames=1))
    assert cut.facts["prompt_truncated"] is True
    assert cut.warnings


def test_text_is_padded_with_zeros_to_one_length(clips: Bench) -> None:
    text = clips.engine._loaded.text  # type: ignore[attr-defined]
    with torch.inference_mode():
        states = text.encode(text.tokenise("red"), 512)
    count = text.tokenise("red").count
    assert states.shape[:2] == (1, 512)
    assert states[0, count - 1].abs().max() > 0
    assert states[0, count:].abs().max() == 0


def test_a_stop_before_the_decode_never_decodes(
    clips: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    vae = clips.engine._loaded.vae  # type: ignore[attr-defined]
    original = vae.module.decoder.forward

    def watched(*args: Loose, **options: Loose) -> Loose:
        decoded.append(1)
        return original(*args, **options)

    monkeypatch.setattr(vae.module.decoder, "forward", watched)
    clips.compute(clip_with())
    whole = clips.gate.calls
    assert len(decoded) == 2
    decoded.clear()
    for call in range(1, whole - 1):
        task = clips.task(clip_with())
        with pytest.raises(StopRequested):
            compute(clips.engine, task, RecordingGate(stop_at=call))
        assert decoded == []
        assert list(task.spool.iterdir()) == []
    with pytest.raises(StopRequested):
        compute(clips.engine, clips.task(clip_with()), RecordingGate(stop_at=whole - 1))
    assert len(decoded) == 1, "stopped between two latent frames"


def test_the_gate_is_asked_before_every_block_and_let_go_after(clips: Bench) -> None:
    plain = clips.engine._loaded.plain  # type: ignore[attr-defined]
    clips.compute(clip_with())
    assert clips.gate.calls >= 2 * 2 * len(plain.blocks)
    assert all(not block._forward_pre_hooks for block in plain.blocks)


def test_clips_of_two_tasks_may_run_step_by_step_in_turn(clips: Bench) -> None:
    alone = clips.compute(clip_with(), seed=1).latents

    class Interrupting(RecordingGate):
        """Runs another clip in the middle of the first."""

        def step(self, stage: str, step: int, steps: int) -> None:
            if (stage, step) == ("denoise", 1):
                clips.compute(clip_with(solver="unipc"), seed=2)
            super().step(stage, step, steps)

    work = compute(clips.engine, clips.task(clip_with(), seed=1), Interrupting())
    assert torch.equal(work.latents, alone)


def test_a_small_model_maps_size_and_frames_openly(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pocket"
    shutil.copytree(tiny / "wan", folder)
    native = {"sizes": [[32, 32], [32, 48]], "frames": [5], "max_prompt_tokens": 64}
    (folder / "ourvidz.json").write_text(json.dumps({"name": "Pocket", "native": native}))
    bench = Bench(load("wan", folder), tmp_path / "bench")
    request = clip_with(width=480, height=832, frames=81, requested_frames=83)
    product = bench.run(request)
    said = product.artifacts[0].metadata
    assert (said["width"], said["height"], said["frame_num"]) == (32, 48, 5)
    assert [row.parameter for row in product.differences] == ["size", "frames"]
    assert product.facts["requested_frame_num"] == 83
    assert product.facts["frame_num"] == 5
    assert product.effective["text_length"] == 64
    assert bench.run(clip_with(width=480, height=832, frames=1)).artifacts[0].file == "0.png"
    text = bench.engine._loaded.text  # type: ignore[attr-defined]
    lengths = [text.padded_length([ClipTokens(ids=(1,) * n, count=n)]) for n in (3, 64, 65, 300)]
    assert lengths == [64, 64, 128, 512]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"width": 40}, "config.resolution"), ({"frames": 6}, "config.frame_num")],
)
def test_what_cannot_be_done_is_refused_with_its_field(
    clips: Bench, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        clips.compute(clip_with(**changes))
    assert caught.value.field == field
    with pytest.raises(RequestError):
        clips.compute(PICTURE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_out_of_range_fail_the_attempt(
    clips: Bench, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    plain = clips.engine._loaded.plain  # type: ignore[attr-defined]
    monkeypatch.setattr(
        plain,
        "forward",
        lambda hidden_states, **options: (torch.full_like(hidden_states, value),),
    )
    with pytest.raises(AttemptError) as caught:
        clips.compute(clip_with())
    assert caught.value.code == "GENERATION_ERROR"


def test_the_library_s_errors_are_ours(clips: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = clips.engine._loaded.plain  # type: ignore[attr-defined]

    def fail(**options: object) -> None:
        raise torch.OutOfMemoryError("out")

    monkeypatch.setattr(plain, "forward", fail)
    with pytest.raises(OutOfMemory):
        clips.compute(clip_with())
    assert all(not block._forward_pre_hooks for block in plain.blocks)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("transformer/config.json", {"image_dim": 1280}, "image-to-video"),
        ("transformer/config.json", {"in_channels": 36}, "image-to-video"),
        ("transformer/config.json", {"_class_name": "FluxTransformer2DModel"}, "no Wan"),
        ("model_index.json", {"boundary_ratio": 0.875}, "Wan 2.2"),
        ("model_index.json", {"expand_timesteps": True}, "Wan 2.2"),
    ],
)
def test_other_folders_are_refused_by_name(
    tiny: Path, tmp_path: Path, file: str, change: dict[str, Any], reason: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny / "wan", folder)
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(config | change))
    with pytest.raises(ModelLoadFailed, match=reason):
        load("wan", folder)


def test_previews_show_three_moments_side_by_side(clips: Bench, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    gate = RecordingGate(folder=shown)
    compute(clips.engine, clips.task(clip_with(frames=17)), gate)
    assert len(gate.previews) == 2
    with Image.open(gate.previews[-1]) as preview:
        assert preview.size == (3 * 4, 6)


def test_what_the_worker_added_is_cut_at_a_tokens_end(clips: Bench) -> None:
    """W-3: the sum stays within 512 tokens; the caller's own words are whole; it is reported."""
    text = clips.engine._loaded.text  # type: ignore[attr-defined]
    own = "a red apple on a table, "
    product = clips.run(clip_with(prompt=own + "blue " * 900, extended_from=own, frames=1))
    final = str(product.facts["final_prompt"])
    assert final.startswith(own)
    assert (own + "blue " * 900).startswith(final)
    assert 500 < text.tokenise(final).count <= 512
    assert product.facts["prompt_tokens"] == text.tokenise(final).count
    assert product.facts["prompt_truncated"] is True
    assert [warning for warning in product.warnings if "512 tokens" in warning]
    assert product.fed["text_encoder"] == ids_digest(text.tokenise(final).ids)


def test_an_extended_prompt_that_fits_stays_whole(clips: Bench) -> None:
    """W-3: nothing is cut, and nothing reported."""
    product = clips.run(clip_with(prompt="a red apple, ripe", extended_from="a red", frames=1))
    assert product.facts["final_prompt"] == "a red apple, ripe"
    assert product.facts["prompt_truncated"] is False
    assert product.warnings == ()


def test_a_callers_own_prompt_is_never_cut_for_what_was_added(clips: Bench) -> None:
    """W-1, P-3: it is refused with its count, as it would be alone."""
    own = "apple " * 600
    with pytest.raises(InvalidPrompt, match="tokens"):
        clips.compute(clip_with(prompt=own + "more", extended_from=own))
