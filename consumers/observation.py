"""Versions that are watched while they run: the candidate in shadow, and the live one beside its parent.

Both are decided by gains in log rank that the scorer's health records tell, block by block (`stream.gate`,
`stream.rollback`); what is decided is a ruling.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from consumers.trigger_state import TriggerState
from stream import versions
from stream.gate import Evidence, SequentialTest
from stream.messages import ModelHealth, ModelVersion, Ruling
from stream.rollback import Watch
from stream.settings import Gate

Known = Collection[ModelVersion | Ruling]


class Observation:
    """The two tests, as they stand; they are part of the trigger's state.

    Args:
        gate: the settings.
        state: of which `shadow`, `test`, `watched` and `watch` are taken up.
    """

    def __init__(self, gate: Gate, state: TriggerState) -> None:
        self._gate = gate
        self._shadow = state.shadow
        self._test = SequentialTest.of(state.test) if state.test else None
        self._watched = Watch.of(state.watched, state.watch)

    def save(self, state: TriggerState) -> None:
        """Write into the state what was taken up from it."""
        state.shadow, state.test = self._shadow, self._test.numbers() if self._test else []
        state.watched, state.watch = self._watched.version, self._watched.numbers()

    def rollback(self, health: ModelHealth, known: Known, now_s: float, from_s: float) -> Ruling | None:
        """Follow what the live version's parent would have gained; the ruling that it is better.

        Args:
            health: a record of the scorer.
            known: versions and rulings.
            now_s: event time.
            from_s: event time from which a ruling holds.
        """
        live = versions.live(known, now_s)
        if live is None or health.version != live.version or not live.parent or not self._gate.rollback:
            return None
        if not versions.stands(known, live.version):
            return None  # the ruling waits for its time
        if self._watched.version != live.version:
            self._watched = Watch(live.version)
        watch = self._watched
        for block in health.blocks:
            if block.parent is not None:
                watch.update(block.parent, block.n, block.group)
        lower = watch.lower(self._gate.rollback_confidence)
        if lower <= 0:
            return None
        found = {"gain": watch.mean, "blocks": float(watch.blocks), "gain_lower": lower}
        reason = f"its parent {live.parent} is better by {watch.mean:.4f} in log rank over {watch.blocks} blocks"
        ruling = Ruling(live.version, "rollback", now_s, from_s, reason, found)
        if versions.live([*known, ruling], from_s) is None:
            return None  # there is nothing to go back to
        self._watched = Watch()
        return ruling

    def ended(self, health: ModelHealth, known: Known, now_s: float, from_s: float) -> Ruling | None:
        """Feed the test of the candidate in shadow; the ruling, when it has decided. Arguments as above."""
        candidate = versions.shadow(known, now_s)
        if candidate is None or any(isinstance(r, Ruling) and r.ends_shadow_of(candidate) for r in known):
            self._shadow, self._test = "", None  # the ruling may not be in force yet
            return None
        if self._shadow != candidate.version or self._test is None:
            self._shadow = candidate.version
            live = versions.live(known, now_s)
            same = live is not None and live.version == candidate.parent  # the one that it was judged against
            before = Evidence.of(candidate.gate) if same else Evidence()
            self._test = SequentialTest(self._gate.confidence, self._gate.shadow_blocks, before)
        if health.shadow != candidate.version:
            return None
        test = self._test
        for block in health.blocks:
            if block.shadow is not None:
                test.update(block.shadow, float(block.n), block.shadow_mrr or 0.0, block.group)
        if test.verdict == "undecided":
            return None
        self._shadow, self._test = "", None
        lower, upper = test.bounds
        found = {"gain": test.mean, "gain_lower": lower, "gain_upper": upper, "blocks": float(test.blocks),
                 "blocks_before": float(test.before.blocks), "mrr_change": test.rr_change}  # fmt: skip
        found = {name: value for name, value in found.items() if np.isfinite(value)}
        held_out = f" and {test.before.blocks} held out" if test.before.blocks else ""
        reason = f"log-rank gain {test.mean:.4f} over {test.blocks} blocks in shadow{held_out}"
        return Ruling(candidate.version, test.verdict, now_s, from_s, reason, found)
