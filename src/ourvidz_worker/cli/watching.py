"""A job's events on a bar: where it waits, which stage runs, how far, and for how long still."""

from ourvidz_worker.cli.progress import Bar
from ourvidz_worker.client import ClientError, JobEvent


class JobWatch:
    """Shows the events of one job on a bar; `tell` takes them in order."""

    def __init__(self, bar: Bar) -> None:
        """Nothing has been told yet."""
        self._bar = bar
        self._tries = 1

    def tell(self, event: JobEvent) -> None:
        """Show one event; kinds that this version does not know are passed over."""
        match event.kind:
            case "accepted":
                self._bar.move("queued", 0.0)
            case "started":
                self._tries = max(self._tries, int(event.data.get("attempt") or 1))
                self._bar.move("started", 0.0, self._try())
            case "stage":
                self._bar.move(event.progress().stage)
            case "progress":
                self._progress(event)
            case "retried":
                self._bar.move("queued again", 0.0, str(event.data.get("code", "")))
            case "completed":
                self._bar.finish("completed")
            case "failed":
                self._bar.finish(f"failed: {event.data.get('message', '')}", well=False)
            case "cancelled":
                self._bar.finish("cancelled", well=False)

    def broke(self, error: ClientError) -> None:
        """Show that the job cannot be followed any further."""
        self._bar.finish(error.sentence, well=False)

    def note(self, text: str) -> None:
        """Show a word of our own."""
        self._bar.move(text)

    def _progress(self, event: JobEvent) -> None:
        now = event.progress()
        steps = f"{now.step}/{now.steps}" if now.steps else ""
        left = f"{now.eta_s:.0f} s left" if now.eta_s is not None else ""
        detail = ", ".join(word for word in (steps, left, self._try()) if word)
        self._bar.move(now.stage, now.fraction, detail)

    def _try(self) -> str:
        return f"try {self._tries}" if self._tries > 1 else ""
