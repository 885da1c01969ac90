"""The chat models that a pod serves, by every name that callers may use for them."""

from collections.abc import Mapping

import msgspec

from ourvidz_worker.api.text_bodies import MODELS, Model
from ourvidz_worker.domain.health import HealthView
from ourvidz_worker.domain.lane import Lane

OWNER = "ourvidz-worker"

#: The contract's short name of each model (2.3).
SHORT_NAMES: Mapping[Model, str] = {"instruct": "qwen_instruct", "base": "qwen_base"}

#: Where a chat worker tells the name that each model has by itself.
OWN_NAMES: Mapping[Model, str] = {"instruct": "model", "base": "base_model"}


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One name of a model; `created` is when the pod began, in seconds since the epoch."""

    id: str
    created: int
    root: str
    object: str = "model"
    owned_by: str = OWNER


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Every name of every model that is served."""

    data: tuple[ModelCard, ...]
    object: str = "list"


def own_names(view: HealthView) -> dict[str, Model]:
    """The names that the models of the chat worker have by themselves, in lower case.

    Where one model serves as both, its name means Instruct.
    """
    found: dict[str, Model] = {}
    for kind, member in OWN_NAMES.items():
        name = view.workers.get(Lane.CHAT, {}).get(member)
        if isinstance(name, str) and name:
            found.setdefault(name.lower(), kind)
    return found


def model_list(view: HealthView) -> ModelList:
    """The models that the pod serves, by their short names and their own."""
    told = view.workers.get(Lane.CHAT, {})
    names: dict[str, Model] = {}
    for kind, member in OWN_NAMES.items():
        if _is_served(view, kind):
            own = told.get(member)
            for name in (SHORT_NAMES[kind], own if isinstance(own, str) else ""):
                names.setdefault(name, kind)
    names.pop("", None)
    return ModelList(data=tuple(_card(view, name, kind) for name, kind in names.items()))


def find_model(view: HealthView, name: str) -> ModelCard | None:
    """The model by any name it may be called, in any case; None when it is not served."""
    folded = name.lower()
    kind = MODELS.get(folded) or own_names(view).get(folded)
    return _card(view, name, kind) if kind and _is_served(view, kind) else None


def _is_served(view: HealthView, kind: Model) -> bool:
    """Base is served where it is known to be there; Instruct wherever there is a chat lane."""
    if Lane.CHAT not in view.workers:
        return False
    told = view.workers[Lane.CHAT].get(OWN_NAMES["base"])
    return kind == "instruct" or bool(told or view.models_loaded.get("base_loaded"))


def _card(view: HealthView, name: str, kind: Model) -> ModelCard:
    told = view.workers[Lane.CHAT].get(OWN_NAMES[kind])
    return ModelCard(
        id=name,
        created=round(view.at - view.uptime_s),
        root=told if isinstance(told, str) and told else name,
    )
