"""What a running attempt reports, told to the hub; and the newest preview of each job."""

from pathlib import Path

from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.messages import Computed, Preview, Progress, Report, Run, TextPiece
from ourvidz_worker.pod.hub import Hub


class Watching:
    """Turns reports into events."""

    def __init__(self, hub: Hub) -> None:
        """Events go to `hub`."""
        self._hub = hub
        self._previews: dict[str, Path] = {}

    def take(self, run: Run, report: Report) -> bool:
        """Tell one report of `run`; True when the attempt needs its worker no more."""
        match report:
            case Progress():
                self._hub.moment(
                    run.job_id,
                    EventKind.PROGRESS,
                    {
                        "stage": report.stage,
                        "step": report.step,
                        "steps": report.steps,
                        "fraction": report.fraction,
                        "eta_s": report.eta_s,
                    },
                )
            case Preview():
                self._previews[run.job_id] = Path(run.spool) / report.file
                self._hub.moment(run.job_id, EventKind.PREVIEW, {"step": report.step})
            case TextPiece():
                self._hub.moment(
                    run.job_id, EventKind.TOKEN, {"text": report.text, "tokens": report.tokens}
                )
            case Computed():
                return True
        return False

    def preview(self, job_id: str) -> Path | None:
        """The newest preview of a running job."""
        return self._previews.get(job_id)

    def forget(self, job_id: str) -> None:
        """The job's spool is gone."""
        self._previews.pop(job_id, None)
