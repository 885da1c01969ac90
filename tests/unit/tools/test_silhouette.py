"""An outline is found wherever the object lies, and tells objects of one colour apart."""

import numpy as np
import pytest
import torch
from tools.pocket.probe import OBJECT_NAMES, Pixels
from tools.pocket.silhouette import Outlines

SIDE = 64


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    """Object i is a bar over the whole width, 3 (i + 1) pixels high."""
    rgba = torch.zeros(len(OBJECT_NAMES), 4, SIDE, SIDE, dtype=torch.uint8)
    for index in range(len(OBJECT_NAMES)):
        rgba[index, 3, : 3 * (index + 1)] = 255
    return Outlines(rgba)


def bar(height: int, width: int, *, left: int = 10, top: int = 10, tone: int = 0) -> Pixels:
    picture = np.full((128, 128, 3), 250, dtype=np.uint8)
    picture[top : top + height, left : left + width] = tone
    return picture


def test_place_and_size_do_not_count(outlines: Outlines) -> None:
    one = outlines.overlaps(bar(20, 40))
    assert one == outlines.overlaps(bar(20, 40, left=70, top=90))
    assert one == outlines.overlaps(bar(40, 80))


def test_colour_does_not_count(outlines: Outlines) -> None:
    assert outlines.overlaps(bar(20, 40)) == outlines.overlaps(bar(20, 40, tone=120))


def test_the_right_object_fits_best(outlines: Outlines) -> None:
    heights = [3 * (index + 1) for index in range(len(OBJECT_NAMES))]
    pictures = [bar(height, SIDE) for height in heights]
    figures = outlines.measure(pictures, OBJECT_NAMES)
    assert figures.outline_accuracy >= 0.9
    assert figures.outline_overlap > 0.9


def test_an_empty_picture_fits_nothing(outlines: Outlines) -> None:
    empty = np.full((128, 128, 3), 9, dtype=np.uint8)
    assert outlines.overlaps(empty) == [0.0] * len(OBJECT_NAMES)


def test_a_speck_counts_unless_it_is_left_out(outlines: Outlines) -> None:
    clean, specked = bar(20, 40), bar(20, 40)
    specked[0, :2] = specked[-1, -2:] = 0
    assert outlines.overlaps(specked) != outlines.overlaps(clean)
    assert outlines.overlaps(specked, specks=False) == outlines.overlaps(clean, specks=False)


def test_thin_parts_are_no_specks(outlines: Outlines) -> None:
    picture = bar(20, 40)
    picture[30:60, 20:22] = 0
    assert outlines.overlaps(picture, specks=False) == outlines.overlaps(picture)


def test_both_figures_are_given(outlines: Outlines) -> None:
    pictures = [bar(3 * (index + 1), SIDE) for index in range(len(OBJECT_NAMES))]
    for picture in pictures:
        picture[0, 0] = picture[-1, -1] = 0
    figures = outlines.measure(pictures, OBJECT_NAMES)
    assert figures.without_specks_overlap > 0.9 > figures.outline_overlap
    assert figures.without_specks_accuracy >= 0.9 > figures.outline_accuracy
