"""What stands on a terminal in the end: the moves that progress bars make, and nothing else."""

import pytest
from tools.screens import screen

BAR = "\x1b[32m━\x1b[0m"
"""One green piece of a bar."""


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        pytest.param("one\r\ntwo\r\n", ["one", "two", ""], id="lines"),
        pytest.param("10%\r\x1b[2K20%\r\n", ["20%", ""], id="a bar drawn again"),
        pytest.param(
            "a 1\r\nb 1\r\x1b[2K\x1b[1A\x1b[2Ka 2\r\nb 2\r\n", ["a 2", "b 2", ""], id="two bars"
        ),
        pytest.param(f"x {BAR} y\r\n", [f"x {BAR} y", ""], id="colours stay"),
        pytest.param("\x1b[?25lhidden cursor", ["hidden cursor"], id="other sequences go"),
    ],
)
def test_the_screen_holds_what_was_written_last(written: str, lines: list[str]) -> None:
    assert screen(written) == lines
