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
from ourvidz_worker.config import SETTINGS, Config, Setting, examine
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.job_types import JOB_TYPES

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
#: The first setting of each group, and the group's title.
GROUPS = {
    "state_dir": "State and name",
    "bind_host": "Addresses",
    "auth_mode": "Keys",
    "supabase_url": "The application",
    "callback_url": "Callbacks",
    "worker_public_url": "Registration",
    "repair_empty_original_prompt": "Rights and logs",
    "lanes": "Lanes and models",
    "device": "Device and memory",
    "drain_timeout_s": "Times and tries",
    "wan_max_frames": "Video and extended prompts",
    "reference_fallback": "Reference pictures",
    "device_memory_gb": "Trials",
}

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
    """Every variable by group: other names, default, what a deployed pod needs, and its meaning."""
    defaults, required = Config(), required_when_deployed()
    intro = (
        "Every setting is an environment variable. A malformed value, or an unknown variable that "
        "begins with `OURVIDZ_`, stops the start and is named. A pod is *deployed* as soon as "
        "`SUPABASE_URL`, `REDIS_URL` or `UPSTASH_REDIS_REST_URL` is set: the column says what it "
        "then must have. `ourvidz-worker doctor` judges the values.\n"
    )
    parts = [f"{HEAD}# Settings\n\n{intro}"]
    for title, rows in grouped():
        cells = [
            (
                f"`{row.variable}`",
                ", ".join(f"`{alias}`" for alias in row.aliases),
                shown(getattr(defaults, row.field)),
                required.get(row.variable, ""),
                row.meaning,
            )
            for row in rows
        ]
        columns = ("variable", "also", "default", "deployed", "meaning")
        parts.append(f"\n## {title}\n\n{table(columns, cells)}")
    return "".join(parts)


def grouped() -> list[tuple[str, list[Setting]]]:
    """The settings in their own order, cut where a group begins."""
    groups: list[tuple[str, list[Setting]]] = []
    for row in SETTINGS:
        if row.field in GROUPS:
            groups.append((GROUPS[row.field], []))
        groups[-1][1].append(row)
    return groups


def required_when_deployed() -> dict[str, str]:
    """Variable to what it is when deployed, as the configuration's own refusals say it."""
    deployed = ({"REDIS_URL": "redis://x"}, {"SUPABASE_URL": "https://x"})
    faults = {fault for environment in deployed for fault in examine(environment)[1]}
    found: dict[str, str] = {}
    for fault in sorted(faults):
        names, _, rest = fault.partition(" is required")
        together = names.split(", or ")
        word = "required" if len(together) == 1 else "one of the two"
        found |= dict.fromkeys(together, word) if rest else {}
    return found


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
    return f"{HEAD}# {title}\n\n{intro}\n{table(columns, rows)}"


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """One table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A default as the table shows it; nothing for empty and zero."""
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{value}`" if value else ""


def tree(root: type[OurvidzError]) -> Iterator[type[OurvidzError]]:
    """A class and all below it, in the order they are written."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
