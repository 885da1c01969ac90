"""The parts of a pod, built from the configuration and joined: the one place where they meet."""

import asyncio
import random
import secrets
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import zmq
from starlette.types import ASGIApp

from ourvidz_worker import __version__
from ourvidz_worker.admission import Admission, make_admission
from ourvidz_worker.api.app import make_app
from ourvidz_worker.api.auth import Keys
from ourvidz_worker.api.call import ApiSettings, Side
from ourvidz_worker.api.ports import Desks
from ourvidz_worker.clock import Clock, SystemClock
from ourvidz_worker.config import Config, is_deployed
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.administration import Administration
from ourvidz_worker.pod.cancellations import Cancellations
from ourvidz_worker.pod.conversation import Conversation
from ourvidz_worker.pod.crew import Crew
from ourvidz_worker.pod.dead_ends import DeadEnds
from ourvidz_worker.pod.delivery import Ports
from ourvidz_worker.pod.desk import Desk
from ourvidz_worker.pod.dispatcher import Dispatcher, Leasing
from ourvidz_worker.pod.enhancement import Enhancement
from ourvidz_worker.pod.enhancement_template import read_template
from ourvidz_worker.pod.health import Health
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.pod.memory import Memory
from ourvidz_worker.pod.preparation import Preparation
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.watching import Watching
from ourvidz_worker.queue import Store
from ourvidz_worker.references import References
from ourvidz_worker.references.fetch import UrlFetcher
from ourvidz_worker.rows import Rows
from ourvidz_worker.storage import Storage
from ourvidz_worker.telemetry.rotation import LogRotation
from ourvidz_worker.wiring.announcing import Announcing, announcing_of
from ourvidz_worker.wiring.application import (
    queue_of,
    references_of,
    rows_of,
    storage_of,
    urls_of,
)
from ourvidz_worker.wiring.incarnations import Incarnations
from ourvidz_worker.wiring.memory import card_bytes, make_memory, shared_out
from ourvidz_worker.wiring.models import engine_of, lanes_with_models
from ourvidz_worker.wiring.state import admin_key, fresh_spool, prepare_state
from ourvidz_worker.wiring.telling import Telling, make_telling

MAX_SEED = 2_147_483_641
"""Drawn seeds leave room for the pictures of one batch below 2³¹ (contract 3.3)."""


SIDES: tuple[Side, Side] = ("wan", "chat")


class Closing(Protocol):
    """A part with connections or files open."""

    async def close(self) -> None:
        """Let them go."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What runs in a pod's process."""

    queue: Store
    workers: dict[Lane, Supervisor]
    crew: Crew
    dispatcher: Dispatcher
    health: Health
    memory: Memory
    telling: Telling
    announcing: Announcing
    rotation: LogRotation
    closing: tuple[Closing, ...]
    """What is let go at the end, in this order."""
    wan_app: ASGIApp
    chat_app: ASGIApp
    context: zmq.Context[zmq.Socket[bytes]]

    def works(self) -> list[Coroutine[None, None, None]]:
        """Everything that runs until it is cancelled."""
        return [
            self.dispatcher.run(),
            self.dispatcher.keep_leases(),
            self.dispatcher.watch_rows(),
            self.health.keep_fresh(),
            self.memory.run(),
            self.telling.run(),
            self.announcing.run(),
            self.rotation.run(),
        ]

    async def flush(self) -> None:
        """Try once more to tell what is owed."""
        await self.telling.flush()

    async def close(self) -> None:
        """Let the stores and the sockets go."""
        for part in self.closing:
            await part.close()
        self.context.destroy(linger=0)


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """What every other part stands on."""

    config: Config
    state: Path
    spool: Path
    clock: Clock
    name: str
    queue: Store
    storage: Storage
    rows: Rows
    urls: UrlFetcher | None
    hub: Hub
    watching: Watching
    admission: Admission
    references: References
    limits: Limits

    def closing(self) -> tuple[Closing, ...]:
        """What is let go at the end."""
        connected = (self.queue, self.storage, self.rows)
        return connected if self.urls is None else (*connected, self.urls)


async def build_parts(config: Config, sockets: Path) -> Parts:
    """Take the state folder and build every part. Raises `ConfigError`."""
    state = prepare_state(config.state_dir)
    total_bytes = card_bytes(config)
    models = shared_out(lanes_with_models(config), total_bytes)
    clock = SystemClock()
    name = worker_id(config)
    queue = queue_of(config, state, clock, worker_id=name)
    await queue.open()
    ground = _ground(config, state, clock, name, queue)
    context = zmq.Context()
    incarnations = Incarnations(
        engines={lane: (engine_of(config, lane), models[lane]) for lane in models},
        sockets=sockets,
        logs=state / "logs",
        clock=clock,
        context=context,
    )
    return _join(ground, incarnations, context, total_bytes)


def _ground(config: Config, state: Path, clock: Clock, name: str, queue: Store) -> _Ground:
    storage = storage_of(config, state, clock)
    urls = urls_of(config, clock)
    hub = Hub(queue, clock)
    return _Ground(
        config=config,
        state=state,
        spool=fresh_spool(state),
        clock=clock,
        name=name,
        queue=queue,
        storage=storage,
        rows=rows_of(config, clock),
        urls=urls,
        hub=hub,
        watching=Watching(hub),
        admission=make_admission(
            [policy.strip() for policy in config.admission_policies.split(",") if policy.strip()]
        ),
        references=references_of(config, storage, urls, clock),
        limits=Limits(
            max_frames=config.wan_max_frames,
            max_output_tokens=config.chat_max_output_tokens,
            admin_writes=config.admin_queue_write,
        ),
    )


def _join(
    ground: _Ground,
    incarnations: Incarnations,
    context: zmq.Context[zmq.Socket[bytes]],
    total_bytes: int,
) -> Parts:
    """Join the parts; a change of any worker makes the dispatcher look again."""
    config = ground.config
    cancellations = Cancellations(ground.rows, ground.clock)
    telling = make_telling(
        config,
        ground.queue,
        ground.clock,
        worker_id=ground.name,
        limits=ground.limits,
        jitter=random.random,
        skipped=cancellations.look,
    )
    news = asyncio.Event()
    workers = _workers(incarnations, ground.clock, news)
    health = Health(
        workers,
        ground.queue,
        ground.storage,
        ground.clock,
        refused=telling.refused,
        limits=_limits_shown(config),
    )
    memory = make_memory(config, total_bytes, workers, health, ground.clock)
    texts = _conversation(ground, workers.get(Lane.CHAT), health, memory)
    dispatcher = Dispatcher(
        workers,
        _ports(ground, telling, _questions(ground, texts, health, memory), cancellations),
        _leasing(ground, memory),
        count=health.count,
        news=news,
    )
    announcing = announcing_of(config, workers, health, ground.clock)
    desk = _desk(ground, frozenset(workers), dispatcher)
    dead = DeadEnds(queue=ground.queue, hub=ground.hub, owed=telling.kick)
    desks = Desks(jobs=desk, texts=texts, memory=memory, dead=dead, pod=health)
    wan_app, chat_app = (_app(side, ground, desks) for side in SIDES)
    return Parts(
        queue=ground.queue,
        workers=workers,
        crew=Crew(workers, config.start_timeout_s, may_start=memory.may_start),
        dispatcher=dispatcher,
        health=health,
        memory=memory,
        telling=telling,
        announcing=announcing,
        rotation=LogRotation(folder=ground.state / "logs", sleep=ground.clock.sleep),
        closing=(telling, announcing, *ground.closing()),
        wan_app=wan_app,
        chat_app=chat_app,
        context=context,
    )


def _leasing(ground: _Ground, memory: Memory) -> Leasing:
    """In this pod's name; a lane whose worker is away is not leased from."""
    return Leasing(
        owner=ground.name,
        ttl_s=ground.config.lease_ttl_s,
        may_lease=(memory.may_lease,),
    )


def _workers(
    incarnations: Incarnations, clock: Clock, news: asyncio.Event
) -> dict[Lane, Supervisor]:
    return {
        lane: Supervisor(lane, incarnations.start, clock, jitter=random.random, changed=news.set)
        for lane in incarnations.engines
    }


def _app(side: Side, ground: _Ground, desks: Desks) -> ASGIApp:
    return make_app(
        side=side,
        desks=desks,
        keys=Keys.of(*_keys(ground.config, ground.state)),
        clock=ground.clock,
        settings=_api_settings(ground.config),
    )


def _conversation(
    ground: _Ground, worker: Supervisor | None, health: Health, memory: Memory
) -> Conversation:
    return Conversation(
        worker=worker,
        spool=ground.spool,
        clock=ground.clock,
        deadline_s=ground.config.chat_request_timeout_s,
        admit=ground.admission.admit,
        draw_seed=lambda: 1 + secrets.randbelow(MAX_SEED),
        count=health.count,
        summon=partial(memory.summon, Lane.CHAT),
        most_waiting=ground.config.chat_max_waiting,
    )


@dataclass(frozen=True, kw_only=True)
class _Questions:
    """What the pod answers or asks by text: questions about itself, prompts to be extended."""

    administration: Administration
    enhancement: Enhancement


def _questions(ground: _Ground, texts: Conversation, health: Health, memory: Memory) -> _Questions:
    template = read_template(ground.config.wan_enhancement_template)
    return _Questions(
        administration=Administration(
            lambda: health.health("chat"),
            memory,
            enhancement_mode="operator" if template else "continuation",
        ),
        enhancement=Enhancement(
            texts=texts, clock=ground.clock, admit=ground.admission.admit, template=template
        ),
    )


def _ports(
    ground: _Ground, telling: Telling, questions: _Questions, cancellations: Cancellations
) -> Ports:
    config = ground.config
    return Ports(
        queue=ground.queue,
        cancellations=cancellations,
        hub=ground.hub,
        keeping=Keeping(ground.storage, ground.clock, random.random),
        administration=questions.administration,
        preparation=Preparation(
            limits=ground.limits,
            references=ground.references,
            enhance=questions.enhancement.extend,
            admit=ground.admission.admit,
            falls_back=config.reference_fallback == "fallback",
            deadlines=config.job_timeouts,
        ),
        teller=telling,
        watching=ground.watching,
        clock=ground.clock,
        spool=ground.spool,
        max_tries=config.max_job_attempts,
        told=telling.kick,
        log_prompts=config.log_prompts,
    )


def _desk(ground: _Ground, lanes: frozenset[Lane], dispatcher: Dispatcher) -> Desk:
    return Desk(
        queue=ground.queue,
        storage=ground.storage,
        hub=ground.hub,
        watching=ground.watching,
        clock=ground.clock,
        lanes=lanes,
        limits=ground.limits,
        admit=ground.admission.admit,
        stop=dispatcher.cancel,
        keep=ground.references.keep,
        falls_back=ground.config.reference_fallback == "fallback",
    )


def _keys(config: Config, state: Path) -> tuple[str, ...]:
    """The keys accepted; the embedded profile makes its own at first start."""
    given = (config.wan_worker_api_key, config.chat_worker_api_key, config.sdxl_worker_api_key)
    return given if is_deployed(config) else (admin_key(state), *given)


def _api_settings(config: Config) -> ApiSettings:
    return ApiSettings(
        version=__version__,
        auth_mode=config.auth_mode,
        max_output_tokens=config.chat_max_output_tokens,
        max_reference_bytes=config.reference_max_bytes,
        log_prompts=config.log_prompts,
    )


def _limits_shown(config: Config) -> dict[str, int | float]:
    return {
        "max_frames": config.wan_max_frames,
        "max_output_tokens": config.chat_max_output_tokens,
        "chat_request_timeout_s": config.chat_request_timeout_s,
        "max_job_attempts": config.max_job_attempts,
        "reference_max_bytes": config.reference_max_bytes,
    }


def worker_id(config: Config) -> str:
    """The pod's name in leases and callbacks: the configured one, else the host's and chance."""
    return (
        config.worker_id or config.runpod_pod_id or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    )
