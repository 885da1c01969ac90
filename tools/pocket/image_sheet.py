"""The contact sheet: forty plain prompts as somebody would type them, and what came of each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tools.pocket.probe import Pixels

SHEET_PROMPTS = (
    "a red apple on a blue background",
    "a cat",
    "a dog on a green background",
    "a car on a yellow background",
    "a house",
    "a rocket on a black background",
    "sun, blue background",
    "a slice of pizza",
    "a turtle on yellow",
    "a robot on a purple background",
    "a sailing boat on a pink background",
    "a birthday cake",
    "an airplane on a blue background",
    "a teddy bear on a blue background",
    "an elephant on a pink background",
    "a watermelon on a white background",
    "a cup of coffee on a red background",
    "an alarm clock",
    "a banana on a green background",
    "a tree on an orange background",
    "two balloons",
    "three strawberries on a white background",
    "two dogs on a blue background",
    "a pair of cherries",
    "a cat and a fish",
    "an apple and a banana on a black background",
    "a penguin to the left of a snowman",
    "a car and a house on a green background",
    "an owl on the left on a purple background",
    "a frog on the right",
    "a tiny star on a blue background",
    "a huge pumpkin on a black background",
    "a small key on a red background",
    "happy face on teal",
    "smiling face with sunglasses on an orange background",
    "photo of a guitar on a brown background",
    "a crown on a pink gradient",
    "A butterfly on a yellow background.",
    "cactus, white background",
    "a yellow sunflower in front of a gray background",
)
_COLUMNS, _GAP, _LABEL_PX, _LINE_PX = 8, 10, 40, 13
_LETTERS_A_LINE, _LINES, _FONT_PX = 22, 3, 11


def draw_sheet(pictures: Sequence[Pixels], labels: Sequence[str], path: Path) -> None:
    """Lay equal pictures out in rows, each with its prompt below, and save them as PNG."""
    height, width = pictures[0].shape[:2]
    cell = (width + _GAP, height + _LABEL_PX + _GAP)
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell[0] + _GAP, rows * cell[1] + _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left = _GAP + index % _COLUMNS * cell[0]
        top = _GAP + index // _COLUMNS * cell[1]
        sheet.paste(Image.fromarray(picture), (left, top))
        for line, words in enumerate(textwrap.wrap(label, _LETTERS_A_LINE)[:_LINES]):
            pen.text((left, top + height + 3 + line * _LINE_PX), words, fill="black", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
