#!/usr/bin/env python3
"""Show the demo once, and draw what it shows: the terminal, the pictures, three frames of the clip.

Usage: screens.py [--again] [--out FOLDER]

Writes demo-terminal.png, demo-images.png and demo-clip.png into docs/screens. With --again the
demo is not run: its last results in demo-output are drawn. Needs resvg_py (the extra `pocket`) and
the font DejaVu Sans Mono; run by hand, since no two runs take the same time.
"""

import argparse
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo-output"
CAPTURE = "terminal.ansi"
COMMAND = "$ .venv/bin/python tools/demo.py"

COLUMNS, LINES = 92, 60
FONT = "DejaVu Sans Mono"
WIDTH, COLOURS = 1300, 64
"""Letters are readable at half this width; so few colours keep the file small."""

INK, FAINT, GROUND = (230, 237, 243), (139, 148, 158), (13, 17, 23)
THEME = TerminalTheme(
    GROUND,
    INK,
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)

SCALE = 3
"""Pocket pictures are 128 pixels wide; each becomes a square of so many, so that it can be seen."""

GAP, CAPTION = 24, 34
FRAMES = 3

CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])")
"""A control sequence, or a move of the cursor; what stands between is text."""


def main(arguments: Sequence[str]) -> int:
    """Draw every picture; return the exit code of the demo."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="draw the last run's results")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screens")
    chosen = parser.parse_args(arguments)
    code = 0 if chosen.again else show_demo()
    if code == 0:
        chosen.out.mkdir(parents=True, exist_ok=True)
        capture = (DEMO / CAPTURE).read_bytes().decode()  # as text, each return would be a new line
        draw_terminal(capture, chosen.out / "demo-terminal.png")
        draw_images(DEMO, chosen.out / "demo-images.png")
        draw_clip(DEMO / "clip-0.mp4", chosen.out / "demo-clip.png")
    return code


def show_demo() -> int:
    """Run the demo on a terminal of its own and keep what it wrote there; its exit code."""
    ours, theirs = pty.openpty()
    size = (f"COLUMNS={COLUMNS}", f"LINES={LINES}", "TERM=xterm-256color")
    command = ["env", *size, sys.executable, str(ROOT / "tools" / "demo.py")]
    with subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs) as demo:
        os.close(theirs)
        written = b"".join(pieces(ours))
    os.close(ours)
    (DEMO / CAPTURE).write_bytes(written)
    return demo.returncode


def pieces(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal, until nobody has it open any more."""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux's way to say that the other side is closed
            return
        if not piece:
            return
        yield piece


def draw_terminal(capture: str, target: Path) -> None:
    """The screen at the end, as a picture."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
    )
    for line in (COMMAND, *screen(capture)):
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title="ourvidz-worker", theme=THEME)
    svg = svg.replace("Fira Code", FONT)
    png = import_module("resvg_py").svg_to_bytes(svg_string=svg, width=WIDTH)
    picture = Image.open(io.BytesIO(bytes(png)))
    on_ground = Image.new("RGBA", picture.size, GROUND)
    on_ground.alpha_composite(picture.convert("RGBA"))
    on_ground.convert("RGB").quantize(COLOURS).save(target, optimize=True)


def screen(capture: str) -> list[str]:
    """The lines that stand on the screen in the end, colours included.

    Knows what progress bars use: carriage return, line feed, cursor up, erase the line. What is
    written to a line that was not erased replaces it.
    """
    lines, row, fresh, begun = [""], 0, True, 0
    for match in [*CONTROL.finditer(capture), None]:
        text = capture[begun : match.start() if match else len(capture)]
        begun = match.end() if match else begun
        code = "" if match is None else match[2] or match[3]
        if code == "m" and match is not None:
            text += match[0]
        if text:
            lines[row] = text if fresh else lines[row] + text
            fresh = False
        if code == "\r":
            fresh = True
        elif code == "K":
            lines[row] = ""
        elif code == "A" and match is not None:
            row = max(0, row - int(match[1] or 1))
        elif code == "\n":
            row, fresh = row + 1, True
            lines += [""] * (row + 1 - len(lines))
    return lines


def draw_images(folder: Path, target: Path) -> None:
    """The batch, each picture with its thumbnail below it."""
    mains = sorted(folder.glob("apples-?.png"))
    shown = [enlarged(Image.open(file)) for file in mains]
    small = [Image.open(file).convert("RGB") for file in sorted(folder.glob("apples-?.thumb.webp"))]
    captions = [f"{file.name}  {Image.open(file).width} px" for file in mains]
    width, height = shown[0].size
    sheet = new_sheet(len(shown), width, height + CAPTION + small[0].height)
    for index, (picture, thumbnail) in enumerate(zip(shown, small, strict=True)):
        left = GAP + index * (width + GAP)
        sheet.paste(picture, (left, GAP))
        write(sheet, (left, GAP + height + 6), captions[index])
        top = GAP + height + CAPTION
        sheet.paste(thumbnail, (left, top))
        words = f"thumbnail, WEBP\n{thumbnail.width} px"
        write(sheet, (left + thumbnail.width + 14, top + 4), words)
    sheet.save(target, optimize=True)


def draw_clip(file: Path, target: Path) -> None:
    """Three frames of the clip: the first, the middle one, the last."""
    with av.open(str(file)) as clip:
        frames = [
            Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)
        ]
    chosen = [round(place * (len(frames) - 1) / (FRAMES - 1)) for place in range(FRAMES)]
    width, height = enlarged(frames[0]).size
    sheet = new_sheet(FRAMES, width, height)
    for place, index in enumerate(chosen):
        left = GAP + place * (width + GAP)
        sheet.paste(enlarged(frames[index]), (left, GAP))
        write(sheet, (left, GAP + height + 6), f"frame {index + 1} of {len(frames)}")
    sheet.save(target, optimize=True)


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture in RGB, each of its pixels as a square."""
    size = (picture.width * SCALE, picture.height * SCALE)
    return picture.convert("RGB").resize(size, Image.Resampling.NEAREST)


def new_sheet(count: int, width: int, height: int) -> Image.Image:
    """A dark sheet for `count` pictures side by side, with room for a line below them."""
    return Image.new("RGB", (GAP + count * (width + GAP), GAP + height + CAPTION + GAP), GROUND)


def write(sheet: Image.Image, place: tuple[int, int], words: str) -> None:
    """Write on a sheet in the font that Pillow brings."""
    ImageDraw.Draw(sheet).text(place, words, FAINT, ImageFont.load_default(size=18))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
