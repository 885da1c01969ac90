"""Where a job's results go on this machine. No network here."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ourvidz_worker.client.calls import Call, asset
from ourvidz_worker.client.errors import UnexpectedAnswer
from ourvidz_worker.client.results import AssetView, JobView, SavedFile
from ourvidz_worker.domain.ids import is_id

_ENDINGS = {"image": ".png", "video": ".mp4"}


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to be written: what `call` answers, or `text` where there is no call."""

    index: int
    part: Literal["main", "thumbnail", "text"]
    path: Path
    call: Call[bytes] | None = None
    text: str = ""

    def write(self, content: bytes) -> SavedFile:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o644)
        os.replace(file.name, self.path)
        return SavedFile(index=self.index, part=self.part, path=self.path, size_bytes=len(content))


def downloads(view: JobView, folder: Path) -> list[Download]:
    """The files of a completed job, as `folder/JOB-INDEX.png`, `.mp4`, `.thumb.webp` or `.txt`.

    Raises `UnexpectedAnswer` when the pod names the job or a result as no pod would.
    """
    if not is_id(view.job_id):
        raise UnexpectedAnswer
    found: list[Download] = []
    for result in view.assets:
        found += _of_asset(view.job_id, result, folder)
    return found


def _of_asset(job_id: str, result: AssetView, folder: Path) -> list[Download]:
    index, stem = result.index, folder / f"{job_id}-{result.index}"
    if result.text is not None:
        path = stem.with_name(f"{stem.name}.txt")
        return [Download(index=index, part="text", path=path, text=result.text)]
    if result.type not in _ENDINGS:
        raise UnexpectedAnswer
    main = Download(
        index=index,
        part="main",
        path=stem.with_name(stem.name + _ENDINGS[result.type]),
        call=asset(job_id, index, thumbnail=False),
    )
    if result.thumbnail_href is None and result.thumbnail_url is None:
        return [main]
    thumbnail = Download(
        index=index,
        part="thumbnail",
        path=stem.with_name(f"{stem.name}.thumb.webp"),
        call=asset(job_id, index, thumbnail=True),
    )
    return [main, thumbnail]
