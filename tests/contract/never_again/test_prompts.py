"""Seeds, negative prompts, weights and long prompts (lines 27 to 30)."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract.never_again.engine_pod import EnginePod, engine_pod
from tests.contract.never_again.jobs import USER, clip_job, picture_job
from tests.unit.engines.engine_bench import Bench
from tokenizers import Tokenizer

from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.engines import Engine
from ourvidz_worker.engines.sdxl_denoise import Conditioning
from ourvidz_worker.engines.tokens import ids_digest
from ourvidz_worker.testing.tiny_tokenizers import clip_tokenizer

pytestmark = pytest.mark.anyio

Photo = Callable[..., bytes]
Digest = Callable[[str], str]
MakeJob = Callable[..., dict[str, Any]]
KINDS: dict[str, MakeJob] = {"sdxl": picture_job, "wan": clip_job}
CLIP_LENGTH, CHUNK = 77, 75
MAX_DRAWN = 2_147_483_647
LONG = "a " * 199 + "apple"
PADS = ("<|endoftext|>", "!")
"""What fills a chunk of SDXL's first encoder, and of its second."""


@pytest.fixture
async def pods(
    tmp_path: Path, sdxl: Engine[Any], wan: Engine[Any]
) -> AsyncIterator[dict[str, EnginePod]]:
    """A pod for each kind."""
    async with (
        engine_pod(tmp_path / "sdxl", sdxl) as pictures,
        engine_pod(tmp_path / "wan", wan) as clips,
    ):
        yield {"sdxl": pictures, "wan": clips}


@pytest.mark.parametrize("kind", KINDS)
async def test_27_seed_0_is_used_as_0(pods: dict[str, EnginePod], kind: str) -> None:
    """3.3: 0 is a seed, in each place and form it is given."""
    pod, make = pods[kind], KINDS[kind]
    places = ({"config": {"seed": 0}}, {"seed": 0}, {"metadata": {"seed": 0}}, {"seed": "0"})
    told = [await pod.completed(make(**place)) for place in places]
    for one in told:
        assert one.asset["seed"] == one.asset["generation_seed"] == one.metadata["base_seed"] == 0
        assert (one.receipt.seed, one.data()) == (0, told[0].data())
    assert (await pod.completed(make(seed=1))).data() != told[0].data()


@pytest.mark.parametrize("kind", KINDS)
async def test_27_an_absent_seed_is_drawn_and_told(pods: dict[str, EnginePod], kind: str) -> None:
    """3.3: at least 1, another each time, and the told seed makes the same file."""
    pod, make = pods[kind], KINDS[kind]
    places: tuple[dict[str, Any], ...] = ({}, {"seed": None}, {"config": {"seed": -1}})
    drawn = []
    for place in places:
        told = await pod.completed(make(**place))
        seed = told.asset["seed"]
        assert 1 <= seed <= MAX_DRAWN
        assert told.metadata["base_seed"] == seed
        assert (await pod.completed(make(seed=seed))).data() == told.data()
        drawn.append(seed)
    assert len(set(drawn)) == len(places)


@pytest.mark.parametrize("given", [0, 41, None])
async def test_27_the_seeds_of_a_batch_differ(
    pods: dict[str, EnginePod], given: int | None
) -> None:
    """S-1: picture i has seed `base + i`, and is what that seed makes alone."""
    pod = pods["sdxl"]
    batch = await pod.completed(picture_job(config={"num_images": 3, "seed": given}))
    base = batch.metadata["base_seed"]
    assert base == (base if given is None else given)
    seeds = [asset["metadata"]["seed"] for asset in batch.end["assets"]]
    assert seeds == [base, base + 1, base + 2]
    assert {asset["metadata"]["batch_size"] for asset in batch.end["assets"]} == {3}
    assert len({batch.data(index) for index in range(3)}) == 3
    for index, seed in enumerate(seeds):
        alone = await pod.completed(picture_job(config={"seed": seed}))
        assert alone.data() == batch.data(index)


def clip_tokens(text: str) -> list[int]:
    """The tokens of `text` alone, by CLIP's own tokenizer."""
    backend = clip_tokenizer(pad="!").backend_tokenizer
    found: list[int] = backend.encode(text, add_special_tokens=False).ids
    return found


def clip_ids(text: str, pad: str, *, chunks: int = 1) -> list[int]:
    """The ids of `text` as CLIP's own tokenizer makes them, in chunks of 77."""
    tokenizer = clip_tokenizer(pad=pad)
    tokens = clip_tokens(text)
    found: list[int] = []
    for at in range(0, CHUNK * chunks, CHUNK):
        part = [tokenizer.bos_token_id, *tokens[at : at + CHUNK], tokenizer.eos_token_id]
        found += part + [tokenizer.pad_token_id] * (CLIP_LENGTH - len(part))
    return found


def clip_digests(text: str, suffix: str = "", *, chunks: int = 1) -> dict[str, str]:
    """What a receipt says when both of SDXL's encoders read `text`."""
    names = ("text_encoder", "text_encoder_2")
    pairs = zip(names, PADS, strict=True)
    return {
        f"{name}{suffix}": ids_digest(clip_ids(text, pad, chunks=chunks)) for name, pad in pairs
    }


@pytest.fixture
def umt5_digest(wan_folder: Path) -> Callable[[str], str]:
    """What a receipt says when Wan's encoder reads a text."""
    tokenizer = Tokenizer.from_file(str(wan_folder / "tokenizer" / "tokenizer.json"))
    return lambda text: ids_digest(tokenizer.encode(text).ids)


@pytest.mark.parametrize(
    "given",
    [
        {"negative_prompt": "bad apple"},
        {"config": {"negative_prompt": "bad apple"}},
        {"negative_prompt": "bad apple", "config": {"negative_prompt": "other"}},
        {"negative_prompt": ""},
    ],
    ids=["top", "config", "both", "empty"],
)
async def test_28_the_negative_prompt_of_the_job_is_the_one_fed(
    pods: dict[str, EnginePod], umt5_digest: Digest, given: dict[str, Any]
) -> None:
    """P-1: byte for byte, the empty one too, on every encoder."""
    text = "" if given == {"negative_prompt": ""} else "bad apple"
    picture = await pods["sdxl"].completed(picture_job(**given, seed=3))
    prompt = "a red apple on a blue background"
    assert picture.receipt.fed == clip_digests(prompt) | clip_digests(text, ":negative")
    assert picture.asset["negative_prompt_used"] is bool(text)
    clip = await pods["wan"].completed(clip_job(**given, seed=3))
    assert clip.receipt.fed == {
        "text_encoder": umt5_digest(prompt),
        "text_encoder:negative": umt5_digest(text),
    }
    assert clip.asset["negative_prompt_used"] is bool(text)


async def test_28_no_negative_prompt_is_ever_added(
    pods: dict[str, EnginePod], umt5_digest: Digest
) -> None:
    """P-1: an absent one is none (SDXL) or the bare end mark (Wan); `metadata` is not read."""
    leftover: dict[str, Any] = {"metadata": {"negative_prompt": "bad apple"}}
    prompt = "a red apple on a blue background"
    for kind, make in KINDS.items():
        absent, ignored = [
            await pods[kind].completed(make(**given, seed=3)) for given in ({}, leftover)
        ]
        assert absent.data() == ignored.data()
        assert absent.asset["negative_prompt_used"] is False
        if kind == "sdxl":
            assert absent.receipt.fed == clip_digests(prompt)
            assert absent.receipt.effective["negative"] == "zeros"
        else:
            assert absent.receipt.fed["text_encoder:negative"] == umt5_digest("")
        used = await pods[kind].completed(make(negative_prompt="bad apple", seed=3))
        assert used.data() != absent.data()


def conditioning_of(bench: Bench, photo: Path, prompt: str, **fields: Any) -> Conditioning:  # noqa: ANN401
    """What the UNet is told of a prompt, from the job object on."""
    job = picture_job(prompt=prompt, **fields)
    request = read_job(json.dumps(job).encode(), limits=Limits()).request
    found: Conditioning = bench.compute(request, reference=photo).conditioning
    return found


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("negative", [None, "a (bad:1.4) apple"])
def test_29_a_weight_changes_the_embeddings_only_where_weighting_is_on(
    tmp_path: Path, sdxl: Engine[Any], photo: Photo, with_reference: bool, negative: str | None
) -> None:
    """S-4: on both encoders, with a reference and with a negative prompt."""
    file = tmp_path / "photo.png"
    file.write_bytes(photo(size=(256, 256)))
    bench = Bench(sdxl, tmp_path / "bench")
    named = {"reference_image_url": f"user-library/{USER}/a.png"} if with_reference else {}

    def told(prompt: str, **fields: object) -> Conditioning:
        given = {"negative_prompt": negative} | fields
        return conditioning_of(bench, file, prompt, metadata=named, **given)

    plain = told("a red apple")
    weighed = told("a (red:1.3) apple", compel_enabled=True)
    assert weighed.hidden.shape == plain.hidden.shape
    # Both encoders' states lie side by side in the last row, which is the prompt's.
    for part in torch.stack([plain.hidden[-1], weighed.hidden[-1]]).chunk(2, dim=-1):
        assert not torch.equal(part[0], part[1])
    off = told("a (red:1.3) apple")
    bare = conditioning_of(bench, file, "a (red:1.3) apple", metadata=named)
    assert torch.equal(off.hidden[-1], bare.hidden[-1]), "without weighting brackets are text"
    assert not torch.equal(off.hidden[-1], weighed.hidden[-1])
    even = told("a (red:1.0) apple", compel_enabled=True)
    assert torch.equal(even.hidden[-1], plain.hidden[-1])
    if negative is not None:
        lighter = told("a red apple", compel_enabled=True)
        assert not torch.equal(lighter.hidden[0], plain.hidden[0]), "the negative is weighed too"


@pytest.mark.parametrize("with_reference", [False, True])
async def test_29_weighting_is_told_and_changes_the_picture(
    pods: dict[str, EnginePod], photo: Photo, with_reference: bool
) -> None:
    """S-4 from job to callback; weights of their own field are appended, all of them."""
    pod, named = pods["sdxl"], {}
    if with_reference:
        named = {"reference_image_url": await pod.references.keep(USER, photo())}
    given: dict[str, Any] = {"seed": 3, "metadata": named, "negative_prompt": "bad"}
    given["config"] = {"denoise_strength": 0.9}
    prompt = "a (red:1.3) apple"
    off = await pod.completed(picture_job(prompt=prompt, **given))
    on = await pod.completed(picture_job(prompt=prompt, **given | {"compel_enabled": True}))
    assert off.data() != on.data()
    assert (off.metadata["compel_enabled"], on.metadata["compel_enabled"]) == (False, True)
    assert (on.metadata["compel_success"], on.metadata["enhancement_strategy"]) == (True, "compel")
    assert (off.metadata["final_prompt"], on.metadata["final_prompt"]) == (prompt, prompt)
    assert off.receipt.fed["text_encoder"] == clip_digests(prompt)["text_encoder"]
    assert on.receipt.fed["text_encoder"] == clip_digests("a red apple")["text_encoder"]
    weights = ", ".join(f"(w{number}:1.2)" for number in range(8))
    extra = {"compel_enabled": True, "compel_weights": weights}
    many = await pod.completed(picture_job(prompt="a red apple", **given | extra))
    assert many.metadata["final_prompt"] == f"a red apple, {weights}"
    spoken = "a red apple, " + ", ".join(f"w{number}" for number in range(8))
    assert many.receipt.fed["text_encoder"] == clip_digests(spoken)["text_encoder"]


@pytest.mark.parametrize("prompt", ["--prompt a red apple", "-- rm -rf", "--\n🎉 -x"])
async def test_30_a_prompt_that_begins_with_dashes_is_only_text(
    pods: dict[str, EnginePod], umt5_digest: Digest, prompt: str
) -> None:
    """W-1: fed byte for byte."""
    picture = await pods["sdxl"].completed(picture_job(prompt=prompt))
    assert picture.receipt.fed == clip_digests(prompt)
    clip = await pods["wan"].completed(clip_job(prompt=prompt))
    assert clip.receipt.fed["text_encoder"] == umt5_digest(prompt)
    for told in (picture, clip):
        assert told.metadata["final_prompt"] == prompt
        assert told.metadata["prompt_truncated"] is False


async def test_30_a_prompt_of_200_tokens_is_read_to_its_end(
    pods: dict[str, EnginePod], umt5_digest: Digest
) -> None:
    """S-3: in chunks on both encoders, and told."""
    picture = await pods["sdxl"].completed(picture_job(prompt=LONG, negative_prompt="bad", seed=3))
    said = picture.metadata
    count = len(clip_tokens(LONG))
    chunks = -(-count // CHUNK)
    assert (said["prompt_tokens"], said["prompt_chunks"]) == (count, chunks)
    assert count >= 200
    assert (said["prompt_truncated"], said["warnings"]) == (False, [])
    negative = clip_digests("bad", ":negative", chunks=chunks)
    assert picture.receipt.fed == clip_digests(LONG, chunks=chunks) | negative
    other = LONG.removesuffix("apple") + "fox"
    changed = await pods["sdxl"].completed(picture_job(prompt=other, negative_prompt="bad", seed=3))
    assert changed.data() != picture.data(), "the last word counts"
    clip = await pods["wan"].completed(clip_job(prompt=LONG, config={"frame_num": 5}))
    assert clip.receipt.fed["text_encoder"] == umt5_digest(LONG)
    assert clip.metadata["prompt_truncated"] is False
