#!/usr/bin/env python3
"""Write the generated reference: settings, errors, job types, the HTTP document.

Usage: reference.py [--check]      with --check, nothing is written; exits 1 where a file differs.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ourvidz_worker import __version__
from ourvidz_worker.api.app import openapi_document
from ourvidz_worker.config import SETTINGS, Config
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.job_types import JOB_TYPES

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
HEAD = "<!-- written by tools/reference.py: edit the code, then run `make docs` -->\n"


def main(arguments: list[str]) -> int:
    """Write or check every page; return the exit code."""
    stale = []
    for name, text in pages().items():
        file = REFERENCE / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            file.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if "--check" in arguments and stale:
        print(f"out of date (run `make docs`): {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


def pages() -> dict[str, str]:
    """File name to its text."""
    document = msgspec.json.format(msgspec.json.encode(openapi_document(__version__)), indent=2)
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "job-types.md": job_types_page(),
        "openapi.json": document.decode() + "\n",
    }


def settings_page() -> str:
    """Every variable, its default and its meaning."""
    defaults = Config()
    rows = [
        (f"`{row.variable}`", shown(getattr(defaults, row.field)), row.meaning) for row in SETTINGS
    ]
    intro = (
        "Every setting is an environment variable. A malformed value, or an unknown variable that "
        "begins with `OURVIDZ_`, stops the start and is named.\n"
    )
    return page("Settings", intro, ("variable", "default", "meaning"), rows)


def errors_page() -> str:
    """Every error class, with the sentence that a caller reads."""
    rows = [
        (
            f"`{kind.code}`",
            f"`{kind.__name__}`",
            "yes" if kind.retryable else "no",
            " ".join((kind.__doc__ or "").split()),
        )
        for kind in tree(OurvidzError)
    ]
    intro = "`again` says whether the caller may send the same request again.\n"
    return page("Errors", intro, ("code", "class", "again", "default sentence"), rows)


def job_types_page() -> str:
    """The job types and their defaults."""
    rows = [
        (
            f"`{row.name}`",
            row.lane.value,
            row.media.value,
            shown(row.steps),
            shown(row.guidance),
            f"{row.width}x{row.height}" if row.width else "",
            shown(row.frames),
            shown(row.max_tokens),
            f"{row.deadline_s:g}",
        )
        for row in JOB_TYPES.values()
    ]
    columns = (
        "type",
        "lane",
        "makes",
        "steps",
        "guidance",
        "size",
        "frames",
        "max tokens",
        "deadline s",
    )
    return page("Job types", "Defaults; a job may set its own.\n", columns, rows)


def page(title: str, intro: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """One page with one table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return f"{HEAD}# {title}\n\n{intro}\n" + "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A default as the table shows it; nothing for empty and zero."""
    return f"`{value}`" if value else ""


def tree(root: type[OurvidzError]) -> Iterator[type[OurvidzError]]:
    """A class and all below it, in the order they are written."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
