"""Image-to-image, on a tiny random checkpoint."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.unit.engines.engine_bench import Bench, guided_picture, load, picture_with

from ourvidz_worker.domain.errors import (
    AttemptError,
    BadReference,
    ImageToImageFailed,
    OutOfMemory,
)
from ourvidz_worker.engines.sdxl_schedule import SOLVERS
from ourvidz_worker.testing.check_engine import compute, digests
from ourvidz_worker.testing.gate import RecordingGate
from ourvidz_worker.testing.tiny_models import build_sdxl

Photo = Callable[..., Path]


@pytest.mark.parametrize("strength", [0.01, 0.05, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 15])
@pytest.mark.parametrize("mode", ["copy", "modify"])
def test_every_strength_and_step_count_gives_a_picture(
    pictures: Bench, make_photo: Photo, steps: int, strength: float, mode: str
) -> None:
    request = guided_picture(steps=steps, strength=strength, mode=mode, guidance=1.0)
    product = pictures.run(request, reference=make_photo())
    said = product.artifacts[0].metadata
    assert said["pipeline"] == "img2img"
    assert int(str(said["effective_steps"])) == max(1, int(steps * strength))
    denoise = [step for step in pictures.gate.steps if step.stage == "denoise"]
    assert len(denoise) == said["effective_steps"]
    changed = int(str(said["steps"])) != steps
    assert [row.parameter for row in product.differences] == (["steps"] if changed else [])


@pytest.mark.parametrize("scheduler", SOLVERS)
@pytest.mark.parametrize("count", [1, 3])
def test_image_to_image_works_with_every_solver(
    pictures: Bench, make_photo: Photo, scheduler: str, count: int
) -> None:
    request = guided_picture(steps=5, scheduler=scheduler, count=count)
    product = pictures.run(request, reference=make_photo())
    assert len(product.artifacts) == count
    assert product.effective["sigma_start"] == pytest.approx(1.613, abs=0.01)


@pytest.mark.parametrize("policy", ["center_crop", "letterbox", "stretch"])
def test_strength_0_is_the_reference_without_loss(
    pictures: Bench, make_photo: Photo, policy: str
) -> None:
    photo = make_photo(size=(32, 40))
    request = guided_picture(strength=0.0, count=2, resize_policy=policy)
    task = pictures.task(request, reference=photo)
    work = compute(pictures.engine, task, RecordingGate())
    product = pictures.engine.finish(work, task.spool)
    for artifact in product.artifacts:
        with Image.open(task.spool / str(artifact.file)) as made, Image.open(photo) as given:
            assert np.array_equal(np.asarray(made), np.asarray(given))
        assert artifact.metadata["effective_steps"] == 0
        assert artifact.metadata["resize_policy"] == policy
    assert product.fed == {}


def test_more_strength_leaves_the_reference_further(pictures: Bench, make_photo: Photo) -> None:
    photo = make_photo()
    vae = pictures.engine._loaded.vae  # type: ignore[attr-defined]
    starts = [
        pictures.compute(guided_picture(strength=strength, steps=20), reference=photo)
        for strength in (0.05, 0.5, 1.0)
    ]
    with torch.inference_mode():
        distances = [float((work.latents[0] - work.start).abs().mean()) for work in starts]
    assert distances == sorted(distances)
    assert torch.equal(starts[0].start, starts[2].start)
    assert starts[0].start.shape[1] == vae.channels


def test_two_references_give_two_pictures(pictures: Bench, make_photo: Photo) -> None:
    one, other = make_photo("one"), make_photo("two", tone=90)
    made = [pictures.run(guided_picture(), reference=photo) for photo in (one, other)]
    assert digests(made[0]) != digests(made[1])


def test_a_reference_that_is_not_there_is_never_ignored(
    pictures: Bench, make_photo: Photo, tmp_path: Path
) -> None:
    with pytest.raises(BadReference) as caught:
        pictures.compute(guided_picture())
    assert caught.value.reason == "REFERENCE_MISSING"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(BadReference) as caught:
        pictures.compute(guided_picture(), reference=broken)
    assert caught.value.reason == "REFERENCE_NOT_AN_IMAGE"


@pytest.mark.parametrize(
    ("raised", "with_reference", "without"),
    [
        (RuntimeError("x"), ImageToImageFailed, AttemptError),
        (torch.OutOfMemoryError("x"), OutOfMemory, OutOfMemory),
    ],
)
def test_the_library_s_errors_are_ours(
    pictures: Bench,
    make_photo: Photo,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    with_reference: type[AttemptError],
    without: type[AttemptError],
) -> None:
    unet = pictures.engine._loaded.unet  # type: ignore[attr-defined]

    def fail(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(unet, "forward", fail)
    with pytest.raises(AttemptError) as caught:
        pictures.compute(picture_with())
    assert type(caught.value) is without
    with pytest.raises(AttemptError) as caught:
        pictures.compute(guided_picture(), reference=make_photo())
    assert type(caught.value) is with_reference


def test_a_checkpoint_s_own_ddim_draws_but_is_replaced_for_references(
    tmp_path: Path, make_photo: Photo
) -> None:
    folder = build_sdxl(tmp_path / "sdxl", scheduler="DDIMScheduler", clip_sample=False)
    bench = Bench(load("sdxl", folder), tmp_path / "bench")
    assert bench.run(picture_with()).artifacts[0].metadata["scheduler"] == "ddim"
    product = bench.run(guided_picture(), reference=make_photo())
    assert [row.effective for row in product.differences] == ["euler"]
    assert product.artifacts[0].metadata["scheduler"] == "euler"
