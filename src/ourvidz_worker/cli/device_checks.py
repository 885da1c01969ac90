"""The device and its memory: what will run here, and whether the models fit together.

torch is asked in a process of its own; the command line never loads it.
"""

import subprocess
import sys

import msgspec
import psutil

from ourvidz_worker.cli.finding import Finding, fault, warning, well
from ourvidz_worker.cli.model_sizes import Weights, weights_of
from ourvidz_worker.config import Config, is_deployed
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.residency.budgets import budget_of
from ourvidz_worker.residency.policy import available_of

PROBE_S = 120
"""torch takes up to a minute to import on a busy machine with a cold disk."""

GIBIBYTE = 2**30
SMALL_CARD_GIB = 40.0
FOREIGN_GIB = 1.0
"""A bare context and the driver take less than this; more is somebody else's work."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One CUDA device as the driver tells it, in bytes."""

    name: str
    total: int
    free: int


class Torch(msgspec.Struct, frozen=True, kw_only=True):
    """What torch can do here; `fault` says why it cannot be used at all."""

    version: str = ""
    cuda: str | None = None
    """The CUDA that torch was built for; None in a build without it."""

    cards: tuple[Card, ...] = ()
    fault: str = ""


def ask_torch() -> Torch:
    """Import torch in another process and ask it for its devices."""
    command = [sys.executable, "-m", "ourvidz_worker.cli.probe", "torch"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return Torch(fault=f"no answer in {PROBE_S} s")
    if done.returncode != 0:
        return Torch(fault=(done.stderr.strip().splitlines() or ["it fails"])[-1])
    return msgspec.json.decode(done.stdout, type=Torch)


def check_torch(torch: Torch, config: Config) -> list[Finding]:
    """torch can be used, with CUDA where that is wanted (O-3: by capability)."""
    if torch.fault:
        return [fault("torch", torch.fault, "install torch for this machine")]
    card = _card(torch, config)
    if card is not None:
        return [well("torch", f"{torch.version}, CUDA {torch.cuda}, {card.name}")]
    told = f"{torch.version}, {_why_no_card(torch)}"
    if config.device.startswith("cuda"):
        cure = "install the driver, or a torch that suits it; or set OURVIDZ_DEVICE=cpu"
        return [fault("torch", f"{told}, and OURVIDZ_DEVICE is {config.device}", cure)]
    if is_deployed(config) and config.device != "cpu":
        cure = "install the driver, or set OURVIDZ_DEVICE=cpu if this is meant"
        return [warning("torch", f"{told}: models run on the CPU, in float32", cure)]
    return [well("torch", f"{told}: models run on the CPU, in float32")]


def check_memory(torch: Torch, config: Config) -> list[Finding]:
    """The models named fit: each below its lane's cap, together into what is free (M-1, M-2)."""
    weights = weights_of(config)
    card = _card(torch, config)
    if card is None:
        return _host_memory(weights)
    return [*_card_memory(card), *_caps(card, weights, config), *_together(card, weights)]


def _card(torch: Torch, config: Config) -> Card | None:
    """The card that will be used; None where the CPU will be."""
    if config.device == "cpu":
        return None
    number = int(config.device.partition(":")[2] or 0)
    return torch.cards[number] if number < len(torch.cards) else None


def _why_no_card(torch: Torch) -> str:
    if torch.cuda is None:
        return "built without CUDA"
    return "no such CUDA device" if torch.cards else "no CUDA device"


def _host_memory(weights: Weights) -> list[Finding]:
    free, total = psutil.virtual_memory().available, sum(weights.values())
    told = f"no GPU is used; {_gib(free)} of memory free"
    told += f", models of {_gib(total)}" if total else ""
    if total > free:
        return [warning("memory", told, "serve fewer lanes (OURVIDZ_LANES), or smaller models")]
    return [well("memory", told)]


def _card_memory(card: Card) -> list[Finding]:
    told = f"{card.name}, {_gib(card.total)}, {_gib(card.free)} free"
    found = [well("memory", told)]
    if card.total < SMALL_CARD_GIB * GIBIBYTE:
        cure = "serve fewer lanes (OURVIDZ_LANES), or take a card of 48 GB"
        found = [warning("memory", f"{told}: below {SMALL_CARD_GIB:.0f} GiB", cure)]
    used = card.total - card.free
    if used > FOREIGN_GIB * GIBIBYTE:
        cure = "`nvidia-smi` names it; end it if it is not meant"
        found.append(warning("memory", f"another process holds {_gib(used)}", cure))
    return found


def _caps(card: Card, weights: Weights, config: Config) -> list[Finding]:
    shares = {
        "SDXL_MEMORY_FRACTION": (Lane.IMAGE, config.sdxl_memory_fraction),
        "CHAT_MEMORY_FRACTION": (Lane.CHAT, config.chat_memory_fraction),
        "WAN_MEMORY_FRACTION": (Lane.VIDEO, config.wan_memory_fraction),
    }
    caps = {
        variable: (lane, budget_of(lane, share, card.total))
        for variable, (lane, share) in shares.items()
    }
    return [
        warning(
            variable,
            f"the {lane} lane's weights of {_gib(weights[lane])} fill its cap of {_gib(cap)}",
            "raise it, or take smaller or quantised weights",
        )
        for variable, (lane, cap) in caps.items()
        if weights.get(lane, 0) >= cap
    ]


def _together(card: Card, weights: Weights) -> list[Finding]:
    room = available_of(card.free)
    total = sum(weights.values())
    if not total:
        return []
    told = f"models of {_gib(total)}, room for {_gib(room)}"
    if total > room:
        return [
            warning("models", f"{told}: not all are loaded at once", "nothing, if this is meant")
        ]
    return [well("models", told)]


def _gib(size: float) -> str:
    return f"{max(size, 0) / GIBIBYTE:.1f} GiB"
