"""Admission policies: they may refuse a request, never rewrite it."""

import asyncio
import logging
from collections.abc import Sequence
from importlib import import_module

from ourvidz_worker.admission.base import Policy, texts_of
from ourvidz_worker.domain.errors import ConfigError, Refused, Unavailable
from ourvidz_worker.domain.request import Request
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

#: Name to `module:class`; each class takes no arguments.
POLICIES = {"minors": "ourvidz_worker.admission.minors:MinorsPolicy"}

BUILT_IN = "minors"
"""Always applied first; no setting removes it."""


class Admission:
    """The policies of a pod, in order; the first that refuses decides."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Use `make_admission`, which puts the built-in policy first."""
        self._policies = tuple(policies)

    async def admit(self, request: Request) -> None:
        """Let the request pass, or raise `Refused`; `Unavailable` when a policy broke."""
        texts = tuple(texts_of(request))
        for policy in self._policies:
            judged = _judged(policy, texts, request)
            (outcome,) = await asyncio.gather(judged, return_exceptions=True)
            if isinstance(outcome, Refused):
                raise outcome
            if isinstance(outcome, BaseException):
                # No traceback: a policy's own message may quote the text it was judging.
                log.error(
                    "admission broke",
                    extra={
                        "action": Action.ADMISSION_BROKE,
                        "policy": type(policy).__name__,
                        "cause": type(outcome).__name__,
                    },
                )
                raise Unavailable from outcome


def make_admission(names: Sequence[str] = ()) -> Admission:
    """The built-in policy, then those named: a name of `POLICIES`, or an operator's `module:class`.

    Raises `ConfigError` for a name that leads to nothing.
    """
    chosen = [name for name in dict.fromkeys(names) if name != BUILT_IN]
    return Admission([_make_policy(name) for name in (BUILT_IN, *chosen)])


async def _judged(policy: Policy, texts: Sequence[str], request: Request) -> None:
    """In a thread, unless the policy says that so much text is quick to judge."""
    if sum(map(len, texts)) <= getattr(policy, "QUICK_CHARS", -1):
        policy.judge(texts, request)
    else:
        await asyncio.to_thread(policy.judge, texts, request)


def _make_policy(name: str) -> Policy:
    module, _, attribute = POLICIES.get(name, name).partition(":")
    try:
        if not (module and attribute):
            raise ConfigError(f"admission policy {name} is unknown", field="ADMISSION_POLICIES")
        policy: Policy = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"admission policy {name} cannot be loaded", field="ADMISSION_POLICIES"
        ) from error
    return policy


__all__ = ["BUILT_IN", "POLICIES", "Admission", "Policy", "make_admission", "texts_of"]
