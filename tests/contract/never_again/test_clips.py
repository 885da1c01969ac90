"""WAN jobs: references, guidance, stills, parameters and mappings (lines 22 to 26)."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.contract.never_again.engine_pod import EnginePod, Told, engine_pod
from tests.contract.never_again.jobs import USER, clip_job, picture_job
from tests.unit.engines.engine_bench import Bench

from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.engines import Engine, EngineSettings, make_engine
from ourvidz_worker.engines.picture import read_reference

pytestmark = pytest.mark.anyio

Photo = Callable[..., bytes]
Frames = NDArray[np.float64]

MODES = {
    "single": {"reference_image_url": 0},
    "start": {"start_reference_url": 0},
    "end": {"end_reference_url": 0},
    "both": {"start_reference_url": 0, "end_reference_url": 1},
}
"""Each mode's fields in the job's metadata, and which of two pictures each names."""

PINNED = {"single": {0: 0}, "start": {0: 0}, "end": {-1: 0}, "both": {0: 0, -1: 1}}
"""The frames that each mode ties to a picture, and to which of the two."""

STILLS = ("image_fast", "image_high", "image7b_fast_enhanced", "image7b_high_enhanced")


@pytest.fixture
async def pod(tmp_path: Path, wan: Engine[Any]) -> AsyncIterator[EnginePod]:
    async with engine_pod(tmp_path, wan) as opened:
        yield opened


def frames_of(told: Told) -> Frames:
    """Every frame of the stored clip, decoded."""
    with av.open(str(told.file())) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        shown = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    return np.stack(shown).astype(float)


def distance(one: Frames, other: Frames) -> float:
    """Mean squared difference."""
    return float(((one - other) ** 2).mean())


async def test_22_references_change_the_frames_that_they_name(
    tmp_path: Path, pocket_wan: Engine[Any], photo: Photo
) -> None:
    """V-1 on a trained model: pinned frames come near their pictures, which decide the clip."""
    base = {"size": "48x64", "sample_steps": 2, "sample_guide_scale": 1.0, "seed": 3}
    async with engine_pod(tmp_path, pocket_wan) as pod:
        plain = frames_of(await pod.completed(clip_job(config=base)))
        keys = [await pod.references.keep(USER, photo(tone)) for tone in (0, 60, 120)]
        pictures = [shown_as(pod.storage_root / key) for key in keys]
        for mode in MODES:
            clips = []
            for first in (0, 1):
                told = await pod.completed(
                    clip_job(config=base, metadata=naming(mode, keys[first:]))
                )
                assert told.metadata["reference_mode"] == mode
                assert told.asset["pipeline"] == "img2video"
                assert told.asset["guidance_scale"] == 1.0
                clips.append(frames_of(told))
                check_pinned(mode, clips[-1], plain, pictures[first:])
            assert distance(*clips) > 10, mode
            assert min(distance(clip[1:-1], plain[1:-1]) for clip in clips) > 10, mode


def naming(mode: str, keys: list[str]) -> dict[str, str]:
    """The metadata that gives a mode its pictures."""
    return {field: keys[which] for field, which in MODES.get(mode, {}).items()}


def check_pinned(mode: str, clip: Frames, plain: Frames, pictures: list[Frames]) -> None:
    """Assert that each pinned frame is near its picture, and an unconditioned one is not."""
    for place, picture in PINNED[mode].items():
        near, far = (
            distance(clip[place], pictures[picture]),
            distance(plain[place], pictures[picture]),
        )
        assert near < far / 4, (mode, place)


def shown_as(file: Path) -> Frames:
    """A reference as it is preprocessed for the small clip."""
    return read_reference(file, 48, 64).astype(float)


@pytest.mark.parametrize("mode", ["none", *MODES])
async def test_23_guidance_is_told_as_given_with_and_without_a_reference(
    pod: EnginePod, photo: Photo, mode: str
) -> None:
    """V-2: a reference leaves guidance alone, under each of its names."""
    keys = [await pod.references.keep(USER, photo(tone)) for tone in (0, 90)]
    named = naming(mode, keys)
    for name in ("guidance_scale", "cfg", "sample_guide_scale"):
        config = {"sample_guide_scale": None, name: 3.5}
        told = await pod.completed(clip_job(config=config, metadata=named))
        assert told.asset["guidance_scale"] == told.metadata["guidance_scale"] == 3.5
        assert told.receipt.effective["guidance_scale"] == 3.5
    told = await pod.completed(clip_job(config={"sample_guide_scale": None}, metadata=named))
    assert told.asset["guidance_scale"] == 6.5, "the default of the type"


@pytest.mark.parametrize("mode", ["none", "start"])
def test_23_the_guidance_used_is_the_one_given(
    tmp_path: Path, wan: Engine[Any], photo: Photo, mode: str
) -> None:
    """One step's result is linear in guidance: 3.5 lies where it must between 2 and 4."""
    file = tmp_path / "first.png"
    file.write_bytes(photo())
    bench = Bench(wan, tmp_path / "bench")
    named = {"start_reference_url": f"user-library/{USER}/a.png"} if mode == "start" else {}

    def latents(guidance: float) -> torch.Tensor:
        job = clip_job(config={"sample_steps": 1, "sample_guide_scale": guidance}, metadata=named)
        found: torch.Tensor = bench.compute(request_of(job), first=file).latents
        return found

    check_linear(latents)


@pytest.mark.parametrize("with_reference", [False, True])
def test_23_the_guidance_of_a_picture_is_the_one_given(
    tmp_path: Path, sdxl: Engine[Any], photo: Photo, with_reference: bool
) -> None:
    """The same for SDXL, text-to-image and modify."""
    file = tmp_path / "reference.png"
    file.write_bytes(photo(size=(256, 256)))
    bench = Bench(sdxl, tmp_path / "bench")
    named = {"reference_image_url": f"user-library/{USER}/a.png"} if with_reference else {}

    def latents(guidance: float) -> torch.Tensor:
        config = {
            "num_inference_steps": 2 if with_reference else 1,
            "denoise_strength": 0.6,
            "guidance_scale": guidance,
        }
        job = picture_job(config=config, metadata=named)
        found: torch.Tensor = bench.compute(request_of(job), reference=file).latents[0]
        return found

    check_linear(latents)


def check_linear(result: Callable[[float], torch.Tensor]) -> None:
    """Assert that guidance 3.5 gives what lies three quarters of the way from 2 to 4."""
    two, given, four = (result(guidance) for guidance in (2.0, 3.5, 4.0))
    spread = float((four - two).abs().max())
    assert spread > 0
    assert float((given - torch.lerp(two, four, 0.75)).abs().max()) < spread / 50


@pytest.mark.parametrize("kind", STILLS)
async def test_24_a_still_is_a_png_with_its_type_and_thumbnail(pod: EnginePod, kind: str) -> None:
    """W-2: never PNG bytes under an mp4 name."""
    told = await pod.completed(clip_job(kind))
    (asset,) = told.end["assets"]
    assert asset["type"] == "image"
    assert asset["url"].endswith("/0.png")
    assert asset["thumbnail_url"].endswith("/0.thumb.webp")
    assert (told.asset["format"], told.asset["pipeline"]) == ("png", "txt2img")
    with Image.open(told.file()) as picture:
        assert (picture.format, picture.size) == ("PNG", (32, 48))
    with Image.open(told.file(part="thumbnail_url")) as small:
        assert (small.format, small.size) == ("WEBP", (32, 48))
    for said in (told.asset, told.metadata):
        assert not {"frame_num", "fps", "duration_seconds", "codec"} & set(said)
    assert [file.suffix for file in sorted(pod.files())] == [".png", ".webp"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample_steps": 3}, {"steps": 3, "num_inference_steps": 3, "effective_steps": 3}),
        ({"sample_guide_scale": 3.0}, {"guidance_scale": 3.0}),
        ({"sample_solver": "unipc"}, {"sample_solver": "unipc"}),
        ({"sample_shift": 2.0}, {"sample_shift": 2.0}),
        ({"size": "64x32"}, {"width": 64, "height": 32}),
        ({"frame_num": 9}, {"frame_num": 9}),
        ({"seed": 8}, {"seed": 8, "generation_seed": 8}),
        ({"negative_prompt": "bad"}, {"negative_prompt_used": True}),
    ],
    ids=lambda value: next(iter(value)),
)
async def test_25_every_parameter_of_a_clip_takes_effect(
    pod: EnginePod, changes: dict[str, Any], said: dict[str, Any]
) -> None:
    """3.5: each changes the clip, is told as used, and is true of the decoded file."""
    base = {"seed": 7}
    plain = await pod.completed(clip_job(config=base))
    again = await pod.completed(clip_job(config=base))
    changed = await pod.completed(clip_job(config=base | changes))
    assert plain.data() == again.data()
    assert plain.data() != changed.data()
    assert {name: changed.asset[name] for name in said} == said
    assert any(plain.asset[name] != changed.asset[name] for name in said)
    count, height, width, _ = frames_of(changed).shape
    asset = changed.asset
    assert (count, width, height) == (asset["frame_num"], asset["width"], asset["height"])


async def test_25_a_negative_prompt_of_a_clip_is_read_at_the_top_first(pod: EnginePod) -> None:
    """3.3: the second revision sends one for clips, outside of `config`."""
    inner = clip_job(config={"seed": 7, "negative_prompt": "bad"})
    outer = clip_job(config={"seed": 7, "negative_prompt": "other"}, negative_prompt="bad")
    assert (await pod.completed(inner)).data() == (await pod.completed(outer)).data()


@pytest.mark.parametrize(
    ("config", "metadata", "asked", "frames"),
    [
        ({"frame_num": 83}, {}, 83, 81),
        ({"frames": 84}, {}, 84, 81),
        ({"num_frames": 85}, {}, 85, 85),
        ({}, {"duration": 5}, None, 81),
        ({}, {"duration": 10}, None, 161),
    ],
)
async def test_26_lengths_are_mapped_and_told_as_the_file_has_them(
    pod: EnginePod,
    config: dict[str, Any],
    metadata: dict[str, Any],
    asked: int | None,
    frames: int,
) -> None:
    """3.5 and V-4: 83 becomes 81, 5 s 81, 10 s 161."""
    small = {"sample_steps": 1, "sample_guide_scale": 1.0, "frame_num": None}
    told = await pod.completed(clip_job(config=small | config, metadata=metadata))
    asset, said = told.asset, told.metadata
    assert len(frames_of(told)) == asset["frame_num"] == said["frame_num"] == frames
    assert (asset["fps"], said["fps"]) == (16, 16)
    assert asset["duration_seconds"] == frames / 16
    assert said["requested_frame_num"] == (asked or frames)


@pytest.mark.parametrize(
    ("asked", "size"),
    [("1024x576", (832, 480)), ("576x1024", (480, 832)), ("1024x1024", (624, 624))],
)
async def test_26_sizes_are_mapped_and_told_as_the_file_has_them(
    tmp_path: Path, asked: str, size: tuple[int, int]
) -> None:
    """3.5: sizes of pictures become those of clips, with both told."""
    options: dict[str, str | int | float | bool] = {"max_side": 832, "max_frames": 161}
    engine = make_engine("fake", EngineSettings(options=options))
    config = {"size": None, "resolution": asked, "sample_steps": 1}
    async with engine_pod(tmp_path, engine) as pod:
        told = await pod.completed(clip_job(config=config))
    count, height, width, _ = frames_of(told).shape
    assert (count, (width, height)) == (5, size)
    assert (told.asset["width"], told.asset["height"]) == size
    assert told.metadata["requested_resolution"] == asked


async def test_26_the_real_engine_draws_the_mapped_size(pod: EnginePod) -> None:
    """The same through the model: a still of 1024x576 is a file of 832x480."""
    config = {"size": None, "resolution": "1024x576", "sample_steps": 1, "sample_guide_scale": 1}
    told = await pod.completed(clip_job("image_fast", config=config))
    with Image.open(told.file()) as picture:
        assert picture.size == (told.asset["width"], told.asset["height"]) == (832, 480)
    assert told.metadata["requested_resolution"] == "1024x576"


def request_of(job: dict[str, Any]) -> Any:  # noqa: ANN401 - any of the requests
    """The strict request that intake makes of a job."""
    return read_job(json.dumps(job).encode(), limits=Limits()).request
