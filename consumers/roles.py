"""The five consumers: how each one's handler is built for a live process.

Imports stand inside the functions, so that a process loads only what its role needs: interest and trigger no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from stream.bus import Bus
from stream.errors import SettingsError
from stream.messages import ModelVersion
from stream.records import Handler
from stream.settings import Settings
from stream.store import ModelStore

if TYPE_CHECKING:
    from consumers.shelf import NextItem
    from stream.space import Space


@dataclass(frozen=True, slots=True)
class Role:
    """How one of the consumers is run."""

    name: str  # also its consumer group
    kind: type[Handler]  # tells the topics
    build: Callable[[], Handler]  # a fresh handler, for every new assignment
    slow: bool = False  # on_record takes longer than a group waits
    whole: bool = False  # one member gets all partitions, the others stand by


def role(name: str, settings: Settings, bus: Bus) -> Role:
    """The role of that name, with all it needs.

    Raises:
        SettingsError: there is no such role.
    """
    if name not in _ROLES:
        raise SettingsError(f"role must be one of {', '.join(NAMES)}, got {name!r}")
    return _ROLES[name](settings, bus)


def _encoder(settings: Settings, bus: Bus) -> Role:  # noqa: ARG001
    from consumers.encoder import EncoderHandler, Under
    from stream import adapter
    from stream.text import TextEncoder

    encoder = TextEncoder.load(settings.model)  # once: it is the same after every assignment
    store = cache(lambda: ModelStore(settings.store))  # not before a version has an adapter

    def load(version: ModelVersion) -> Under:
        return Under(*adapter.load(encoder, store().fetch(version)))

    return Role("encoder", EncoderHandler, lambda: EncoderHandler(settings, encoder, load))


def _interest(settings: Settings, bus: Bus) -> Role:  # noqa: ARG001
    from consumers.interest import InterestHandler

    space = _space_loader(settings)
    return Role("interest", InterestHandler, lambda: InterestHandler(settings, space))


def _scorer(settings: Settings, bus: Bus) -> Role:  # noqa: ARG001
    from consumers.scorer import ScorerHandler
    from stream.lm import NextItemLM

    store, space = ModelStore(settings.store), _space_loader(settings)
    loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")  # off the hot path

    def load(version: ModelVersion) -> Future[NextItem]:
        return loader.submit(lambda: NextItemLM.load(store.fetch(version)))

    return Role("scorer", ScorerHandler, lambda: ScorerHandler(settings, load, space))


def _trigger(settings: Settings, bus: Bus) -> Role:  # noqa: ARG001
    from consumers.trigger import TriggerHandler

    return Role("trigger", TriggerHandler, lambda: TriggerHandler(settings), whole=True)


def _tuner(settings: Settings, bus: Bus) -> Role:
    from consumers.training_worker import in_subprocess
    from consumers.tuner import TunerHandler

    store = ModelStore(settings.store)
    return Role("tuner", TunerHandler, lambda: TunerHandler(settings, bus, store, in_subprocess), slow=True)


def _space_loader(settings: Settings) -> Callable[[ModelVersion], Space | None]:
    from stream.space import Space

    store = ModelStore(settings.store)
    return lambda version: Space.load(store.fetch(version)) if version.space else None


_ROLES: dict[str, Callable[[Settings, Bus], Role]] = {
    "encoder": _encoder,
    "interest": _interest,
    "scorer": _scorer,
    "trigger": _trigger,
    "tuner": _tuner,
}
NAMES = tuple(_ROLES)
