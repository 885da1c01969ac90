"""The six phases of a start, and the one line that each of them tells (O-7)."""

from enum import IntEnum


class Phase(IntEnum):
    """The phases in order; the first three look, the others act."""

    ENVIRONMENT = 1
    MODELS = 2
    MEMORY = 3
    LAUNCH = 4
    REGISTRATION = 5
    HEALTH = 6


TITLES: dict[Phase, str] = {
    Phase.ENVIRONMENT: "environment validation",
    Phase.MODELS: "model readiness",
    Phase.MEMORY: "memory assessment",
    Phase.LAUNCH: "worker launch",
    Phase.REGISTRATION: "auto-registration",
    Phase.HEALTH: "health monitoring",
}


def phase_line(phase: Phase, told: str) -> str:
    """A phase's status line, such as `[2/6] model readiness: ok`."""
    return f"[{phase.value}/{len(Phase)}] {TITLES[phase]}: {told}"
