"""MP4 files: what browsers play, verified by decoding."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.engines.encode import Pixels, verify_mp4, write_mp4


def clip(frames: int, height: int = 48, width: int = 64) -> Pixels:
    """Flat frames whose grey tells their index."""
    levels = np.linspace(30, 220, frames).round().astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def write_foreign(path: Path, *, codec: str = "libx264", faststart: bool, sound: bool) -> None:
    """A clip as another program might write it."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", format="mp4", options=options) as file:
        stream = cast(VideoStream, file.add_stream(codec, rate=16))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = file.add_stream("aac", rate=44_100) if sound else None
        for index, pixels in enumerate(clip(5)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 16)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if voice is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 44_100
            file.mux(voice.encode(silence))
            file.mux(voice.encode())


@pytest.mark.parametrize("frames", [1, 2, 17, 81])
def test_a_clip_decodes_to_what_was_written(frames: int, tmp_path: Path) -> None:
    written = clip(frames)
    write_mp4(tmp_path / "0.mp4", written)
    facts = verify_mp4(tmp_path / "0.mp4", expected=(frames, 64, 48))
    assert (facts.frames, facts.width, facts.height) == (frames, 64, 48)
    assert (facts.codec, facts.fps, facts.faststart) == ("h264", 16, True)
    assert facts.duration_s == frames / 16
    assert abs(facts.middle_frame.astype(int) - written[frames // 2]).max() <= 3


def test_colours_survive_by_the_tags_of_the_file(tmp_path: Path) -> None:
    colours = [(220, 30, 30), (30, 220, 30), (30, 30, 220), (250, 250, 250), (0, 0, 0)]
    frames = np.stack([np.full((48, 64, 3), colour, np.uint8) for colour in colours])
    write_mp4(tmp_path / "0.mp4", frames)
    with av.open(str(tmp_path / "0.mp4")) as file:
        context = file.streams.video[0].codec_context
        tags = (context.color_primaries, context.color_trc, context.colorspace)
        assert (tags, context.color_range) == ((1, 1, 1), 1)
        assert context.profile == "High"
        assert context.pix_fmt == "yuv420p"
        found = [frame.to_ndarray(format="rgb24")[24, 32] for frame in file.decode(video=0)]
    assert abs(np.array(found).astype(int) - colours).max() <= 4


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, clip(9))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 63), (1, 1)])
def test_odd_sides_are_refused_by_name(height: int, width: int, tmp_path: Path) -> None:
    with pytest.raises(AttemptError, match="even width and an even height"):
        write_mp4(tmp_path / "0.mp4", clip(3, height, width))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("expected", [(4, 64, 48), (5, 48, 64), (5, 64, 50)])
def test_a_clip_of_another_size_or_length_is_refused(
    expected: tuple[int, int, int], tmp_path: Path
) -> None:
    write_mp4(tmp_path / "0.mp4", clip(5))
    with pytest.raises(AttemptError):
        verify_mp4(tmp_path / "0.mp4", expected=expected)


@pytest.mark.parametrize("left", [0.0, 0.5, 0.9])
def test_a_clip_cut_short_is_refused(left: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_mp4(tmp_path / "0.mp4", rng.integers(0, 256, (17, 48, 64, 3), dtype=np.uint8))
    data = (tmp_path / "0.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * left)])
    with pytest.raises(AttemptError):
        verify_mp4(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    ("codec", "faststart", "sound"),
    [("libx264", False, False), ("libx264", True, True), ("mpeg4", True, False)],
)
def test_what_browsers_may_not_play_at_once_is_refused(
    codec: str, faststart: bool, sound: bool, tmp_path: Path
) -> None:
    write_foreign(tmp_path / "0.mp4", codec=codec, faststart=faststart, sound=sound)
    with pytest.raises(AttemptError):
        verify_mp4(tmp_path / "0.mp4")


def test_a_good_clip_of_another_program_passes(tmp_path: Path) -> None:
    write_foreign(tmp_path / "0.mp4", faststart=True, sound=False)
    assert verify_mp4(tmp_path / "0.mp4").frames == 5


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AttemptError, match="could not be written"):
        write_mp4(tmp_path / "absent" / "0.mp4", clip(3))
    with pytest.raises(AttemptError):
        verify_mp4(tmp_path / "absent.mp4")
