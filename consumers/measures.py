"""Quality as an operator watches it: sums since the start of this process, by the version that was live."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.ranking import Tally

KEPT_VERSIONS = 4  # with series of their own; the one that has been live longest ago goes first
LISTS = 1_000  # newest ones, over which coverage is taken
RANKINGS = ("arrival", "served", "popularity")


@dataclass(slots=True)
class OfVersion:
    """Sums over the interactions that were tested while a version was live."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in RANKINGS})
    ranked: int = 0
    log_loss: dict[str, float] = field(default_factory=lambda: {"arrival": 0.0, "popularity": 0.0})


@dataclass(slots=True)
class Measures:
    """Counts tests and lists; `figures` reports them under the names of `stream.metrics`.

    >>> measures = Measures()
    >>> measures.tested("v1", {"arrival": 0, "served": None, "popularity": 11}, {"arrival": 2.0, "popularity": 4.0})
    >>> measures.listed([3, 5]); measures.listed([5])
    >>> figures = measures.figures()
    >>> figures["hits_10_total", "arrival", "v1"], figures["hits_10_total", "popularity", "v1"]
    (1, 0)
    >>> figures["log_loss_sum_total", "popularity", "v1"], figures["recommended_items",]
    (4.0, 2)
    """

    versions: OrderedDict[str, OfVersion] = field(default_factory=OrderedDict)
    lists: deque[tuple[int, ...]] = field(default_factory=deque)
    items: Counter[int] = field(default_factory=Counter)  # on how many of the lists each is

    def tested(self, version: str, ranks: dict[str, int | None], losses: dict[str, float] | None) -> None:
        """Count one interaction.

        Args:
            version: the live one; "" before the first.
            ranks: of its item by each of `RANKINGS`; None: not among them.
            losses: in nats, on arrival and of popularity; None where the item was no candidate.
        """
        name = version or "none"
        sums = self.versions.setdefault(name, OfVersion())
        self.versions.move_to_end(name)
        if len(self.versions) > KEPT_VERSIONS:
            self.versions.popitem(last=False)
        for ranking, rank in ranks.items():
            sums.tallies[ranking].add(rank)
        if losses is not None:
            sums.ranked += 1
            for ranking, loss in losses.items():
                sums.log_loss[ranking] += loss

    def listed(self, items: Sequence[int]) -> None:
        """Count the items (ordinals) of a list that is written."""
        if len(self.lists) >= LISTS:
            self.items.subtract(gone := self.lists.popleft())
            for item in gone:
                if not self.items[item]:
                    del self.items[item]
        self.lists.append(tuple(items))
        self.items.update(items)

    def figures(self) -> dict[tuple[str, ...], float]:
        """See `stream.metrics`."""
        out: dict[tuple[str, ...], float] = {("recommended_items",): len(self.items)}
        for version, sums in self.versions.items():
            out["tested_total", version] = sums.tallies["arrival"].tested
            out["ranked_total", version] = sums.ranked
            for ranking, tally in sums.tallies.items():
                out["hits_10_total", ranking, version] = tally.hits_10
                out["ndcg_10_sum_total", ranking, version] = tally.ndcg_10
                out["reciprocal_rank_20_sum_total", ranking, version] = tally.mrr_20
            for ranking, loss in sums.log_loss.items():
                out["log_loss_sum_total", ranking, version] = loss
        return out
