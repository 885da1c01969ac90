"""Still sprites: which pictures there are, what they are called, and their packed form.

A pack is one safetensors file: the sprites as lossy WebP bytes laid end to end (``webp``, uint8),
their ``offsets`` (int64, N + 1) and, in the header, one JSON list of `SpriteInfo` rows. Sprites
are cropped to their alpha box, centred on a square and scaled to ``SPRITE_PX``.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

SPRITE_PX = 128
WEBP_QUALITY = 88
_MARGIN_PX = 1
_ALPHA_FLOOR = 8
_RARE_KEYWORD = 4
_COMPONENT, _SYMBOLS, _FLAGS, _PEOPLE, _SMILEYS = 2, 8, 9, 1, 0
# How often a sprite is drawn, by emojibase group: things people ask for come more often.
_GROUP_WEIGHT = {_SMILEYS: 0.8, _PEOPLE: 0.4, _SYMBOLS: 0.4}
# Everyday words whose sprite carries another label.
COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "red apple": ("apple",),
    "automobile": ("car", "red car"),
    "deciduous tree": ("tree",),
    "evergreen tree": ("pine tree",),
    "soccer ball": ("ball", "football"),
    "sailboat": ("boat", "sailing boat"),
    "red heart": ("heart",),
    "grinning face": ("happy face", "smiley"),
    "smiling face with sunglasses": ("cool face",),
    "hamburger": ("burger",),
    "tropical fish": ("yellow fish",),
    "blossom": ("flower", "yellow flower"),
    "steam locomotive": ("locomotive", "steam train"),
    "bullet train": ("high-speed train",),
    "laptop": ("laptop computer", "computer"),
    "light bulb": ("bulb", "lamp"),
    "birthday cake": ("cake",),
    "wrapped gift": ("gift", "present"),
    "mobile phone": ("phone", "smartphone"),
    "hot beverage": ("cup of coffee", "coffee", "cup of tea"),
    "crescent moon": ("moon",),
    "television": ("tv",),
    "snowman without snow": ("snowman",),
    "open book": ("book",),
    "airplane": ("plane", "aeroplane"),
    "teddy bear": ("teddy",),
    "front-facing baby chick": ("chick", "baby chick"),
    "bicycle": ("bike",),
    "sunflower": ("yellow sunflower",),
    "beer mug": ("beer",),
    "glass of milk": ("milk",),
    "french fries": ("fries", "chips"),
    "police car": ("police",),
    "smiling face with horns": ("devil",),
    "pile of poo": ("poo",),
    "jack-o-lantern": ("halloween pumpkin", "pumpkin"),
    "high-heeled shoe": ("red shoe",),
    "t-shirt": ("shirt",),
    "delivery truck": ("lorry",),
    "ice cream": ("bowl of ice cream",),
    "soft ice cream": ("ice cream cone",),
    "potted plant": ("plant",),
    "alarm clock": ("clock",),
    "house": ("home",),
    "spiral shell": ("shell",),
    "baby angel": ("angel",),
}


@dataclass(frozen=True, kw_only=True)
class SpriteInfo:
    """What is known about one sprite: the label, other names for it, keywords, drawing weight."""

    code: str
    label: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    group: int
    weight: float


@dataclass(frozen=True)
class SpritePack:
    """All sprites: ``infos`` of length N and ``rgba`` uint8 ``[N, 4, SPRITE_PX, SPRITE_PX]``."""

    infos: tuple[SpriteInfo, ...]
    rgba: torch.Tensor


def build_pack(pictures: Path, emojibase: Path, emojilib: Path, out: Path) -> int:
    """Pack all base sprites found under ``pictures`` into ``out``; return how many.

    ``pictures`` is the unpacked picture package, the other two the word packages.
    """
    rows = read_words(emojibase, emojilib)
    blobs: list[bytes] = []
    infos: list[SpriteInfo] = []
    seen: set[str] = set()
    for path in sorted((pictures / "assets").glob("*.webp")):
        info = rows.get(normal_code(path.stem))
        if info is None:
            continue
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        blobs.append(_encode(crop_square(Image.open(io.BytesIO(raw)).convert("RGBA"))))
        infos.append(info)
    _save(out, blobs, infos)
    return len(infos)


def load_pack(path: Path) -> SpritePack:
    """Read a pack and decode its pictures."""
    with safe_open(path, framework="pt") as stream:
        rows = json.loads(stream.metadata()["sprites"])
        webp, offsets = stream.get_tensor("webp").numpy(), stream.get_tensor("offsets").tolist()
    pictures = [
        np.asarray(Image.open(io.BytesIO(webp[start:end].tobytes())).convert("RGBA"))
        for start, end in itertools.pairwise(offsets)
    ]
    rgba = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return SpritePack(infos=tuple(_info(row) for row in rows), rgba=rgba)


def normal_code(code: str) -> str:
    """Return a code point sequence in lower case without variation selectors."""
    return code.lower().replace("-fe0f", "")


def crop_square(picture: Image.Image, size: int = SPRITE_PX) -> Image.Image:
    """Crop an RGBA picture to its alpha box, centre it on a square, scale it to ``size``."""
    alpha = picture.getchannel("A").point(lambda value: 255 if value > _ALPHA_FLOOR else 0)
    box = alpha.getbbox() or (0, 0, picture.width, picture.height)
    cropped = picture.crop(box)
    side = max(cropped.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(cropped, ((side - cropped.width) // 2, (side - cropped.height) // 2))
    inner = size - 2 * _MARGIN_PX
    scaled = square.resize((inner, inner), Image.Resampling.LANCZOS)
    framed = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    framed.paste(scaled, (_MARGIN_PX, _MARGIN_PX))
    return framed


def read_words(emojibase: Path, emojilib: Path) -> dict[str, SpriteInfo]:
    """Return every base emoji's words by its normal code, without flags and components."""
    table: list[dict[str, Any]] = json.loads((emojibase / "en/data.json").read_text("utf-8"))
    more: dict[str, list[str]] = json.loads((emojilib / "dist/emoji-en-US.json").read_text("utf-8"))
    entries = [row for row in table if row.get("group") not in {None, _COMPONENT, _FLAGS}]
    keywords = {row["hexcode"]: _keywords(row, more.get(row["emoji"], [])) for row in entries}
    counts = Counter(word for words in keywords.values() for word in words)
    labels = {clean_label(row["label"]) for row in entries}
    return {
        normal_code(row["hexcode"]): _describe(row, keywords[row["hexcode"]], counts, labels)
        for row in entries
    }


def clean_label(label: str) -> str:
    """Return a label as a prompt would say it: lower case, no quotes, no colons."""
    plain = re.sub(r"[“”\"]", "", label).replace("\u2019", "'")
    return re.sub(r"\s+", " ", plain.replace(":", "")).strip().lower()


def _keywords(row: dict[str, Any], more: list[str]) -> tuple[str, ...]:
    words = [*row.get("tags", []), *(word.replace("_", " ") for word in more)]
    plain = (clean_label(word) for word in words)
    label = clean_label(row["label"])
    kept = (word for word in plain if re.fullmatch(r"[a-z][a-z' -]{2,24}", word) and word != label)
    return tuple(dict.fromkeys(kept))


def _describe(
    row: dict[str, Any], keywords: tuple[str, ...], counts: Counter[str], labels: set[str]
) -> SpriteInfo:
    label = clean_label(row["label"])
    extra = [*COMMON_NAMES.get(label, ())]
    if label.endswith(" face") and label[:-5] not in labels:
        extra.append(label[:-5])
    rare = [word for word in keywords if counts[word] <= _RARE_KEYWORD]
    common = [word for word in keywords if counts[word] > _RARE_KEYWORD]
    return SpriteInfo(
        code=normal_code(row["hexcode"]),
        label=label,
        names=tuple(dict.fromkeys(extra)),
        keywords=tuple(rare + common),
        group=int(row["group"]),
        weight=_GROUP_WEIGHT.get(int(row["group"]), 1.0),
    )


def _encode(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", quality=WEBP_QUALITY, method=4)
    return stream.getvalue()


def _save(out: Path, blobs: list[bytes], infos: list[SpriteInfo]) -> None:
    offsets = np.cumsum([0, *(len(blob) for blob in blobs)], dtype=np.int64)
    webp = np.frombuffer(b"".join(blobs), dtype=np.uint8).copy()
    tensors = {"webp": torch.from_numpy(webp), "offsets": torch.from_numpy(offsets)}
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = json.dumps([asdict(info) for info in infos], ensure_ascii=True)
    save_file(tensors, out, metadata={"sprites": rows})


def _info(row: dict[str, Any]) -> SpriteInfo:
    values = {**row, "names": tuple(row["names"]), "keywords": tuple(row["keywords"])}
    return SpriteInfo(**values)
