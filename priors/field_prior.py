"""What latents of a field of patches are usually like: see `inrzip.architectures.combiner_field`.

Each patch has a *class*, by how much happens in it. Latents of a class that lie in the same channel of the same grid
are one *kind*: they have one spread, and usually take so many bits, which is how important they are. The latents of a
signal are coded in falling order of that, those of one kind and class in a random one across all patches (RECOMBINER's
permutation), so a block holds latents of many patches, and the bits that it takes are those of the average.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures import combiner_field as fields
from inrzip.architectures.combiner_field import Field
from inrzip.architectures.combiner_network import Layout, Shared
from inrzip.architectures.counted_random import words
from inrzip.codecs.parted_blocks import MAX_MEMBERS
from inrzip.codecs.relative_entropy import scale_values

ORDER_SEED = 0x4F524400
UNITS_PER_BIT = 256
"""What latents take is told in such parts of a bit."""
FILLS_PER_BIT = 8
"""And what the latents of a block take, in such."""
MAX_FILL = 255
LEAST_INDEX_BITS = 8
"""More than pad a file's last byte: so nobody takes what pads for an index."""
MAX_CLASSES = 16
MAX_GROUP = 64
MAX_LEVELS = 64


@dataclasses.dataclass(frozen=True)
class FieldPrior:
    """A learned prior of fields.

    - `shared`, `kind`: as of a `LatentPrior`.
    - `weights`: for each lambda, the squared error, of samples from 0 to 1, that a bit per sample point is worth.
    - `classes`: of patches, for each lambda. Level l of the arrays is lambda l // classes, class l % classes.
    - `group`: patches of a group, along each axis.
    - `scales`: for each level and kind, eighths of octaves of the spread over 1. Kinds are those of a patch, then those
      of a group, then those of the signal, which are the same for all classes.
    - `narrowing`: the same, of how much narrower the posterior usually is.
    - `usual`: 256 times the bits that such a latent usually takes; 0: it is not coded.
    - `bits`: of the index of a full block's candidate.
    """

    layout: Layout
    shared: Shared
    kind: str
    weights: tuple[float, ...]
    classes: int
    group: int
    scales: Int[ndarray, "levels kinds"]
    narrowing: Int[ndarray, "levels kinds"]
    usual: Int[ndarray, "levels kinds"]
    bits: int

    def check(self) -> None:
        """Raises ValueError for what no trainer makes."""
        levels = len(self.weights) * self.classes
        kinds = fields.n_kinds(self.layout) + 2 * fields.n_weights(self.layout)
        if not (
            1 <= levels <= MAX_LEVELS
            and 1 <= self.classes <= MAX_CLASSES
            and 1 <= self.group <= MAX_GROUP
            and self.scales.shape == self.narrowing.shape == self.usual.shape == (levels, kinds)
            and self.usual.min() >= 0
            and LEAST_INDEX_BITS <= self.bits <= 20
            and all(np.isfinite(array).all() for array in jax.tree.leaves(self.shared))
        ):
            raise ValueError("its arrays do not fit together")

    def field(self, counts: tuple[int, ...]) -> Field:
        """That of a signal of so many patches."""
        return Field(counts, self.group)

    def at_each(
        self, table: Int[ndarray, "levels kinds"], weight: int, classes: Int[ndarray, " patches"], field: Field
    ) -> Int[ndarray, " latents"]:
        """An entry of `table` for each latent of a signal, at lambda number `weight`."""
        own = table[weight * self.classes + classes][:, fields.kinds_of_latents(self.layout)]
        first, n = fields.n_kinds(self.layout), fields.n_weights(self.layout)
        above = table[weight * self.classes, first:]
        return np.concatenate([own.ravel(), np.tile(above[:n], field.n_groups), above[n:]])

    def spread(self, weight: int, classes: Int[ndarray, " patches"], field: Field) -> Float[ndarray, " latents"]:
        """Standard deviation of each latent."""
        return scale_values(self.at_each(self.scales, weight, classes, field))

    def parts(self, weight: int, classes: Int[ndarray, " patches"], field: Field) -> Iterator[tuple[int, ndarray]]:
        """Latents that are coded, in order: what each usually takes, and which they are."""
        layout, n_patches = self.layout, field.n_patches
        of_kind, n = fields.kinds_of_latents(layout), fields.n_weights(layout)
        members = [np.flatnonzero(classes == k) for k in range(self.classes)]
        own = fields.n_kinds(layout)
        usual = self.usual[weight * self.classes : (weight + 1) * self.classes].copy()
        usual[1:, own:] = 0  # groups and the signal have no class
        above = n_patches * layout.n_latents
        for at in np.argsort(-usual.ravel(), kind="stable"):
            k, kind = divmod(int(at), usual.shape[1])
            if usual[k, kind] == 0:
                return
            if kind < own:
                found = (members[k][:, None] * layout.n_latents + np.flatnonzero(of_kind == kind)).ravel()
            elif kind < own + n:
                found = above + np.arange(field.n_groups) * n + kind - own
            else:
                found = np.array([above + field.n_groups * n + kind - own - n])
            if len(found):
                mixed = np.argsort(words(ORDER_SEED, found.astype(np.uint32)), kind="stable")
                yield int(usual[k, kind]), found[mixed]

    def blocks(
        self, weight: int, classes: Int[ndarray, " patches"], field: Field, fill: int
    ) -> Iterator[tuple[int, Int[ndarray, " members"]]]:
        """Blocks of a signal, in order: bits that an index had until format 7, and the latents. A block is full when
        the next latent would usually make more than `fill` eighths of a bit of it.
        """
        full = fill * UNITS_PER_BIT // FILLS_PER_BIT
        waiting: list[ndarray] = []
        taken = count = 0
        for usual, members in self.parts(weight, classes, field):
            first = 0
            while first < len(members):
                room = min(max((full - taken) // usual, 0 if count else 1), MAX_MEMBERS - count)
                if room == 0:
                    yield self._index_bits(taken, full), np.concatenate(waiting)
                    waiting, taken, count = [], 0, 0
                    continue
                part = members[first : first + room]
                waiting.append(part)
                first, taken, count = first + len(part), taken + usual * len(part), count + len(part)
        if count:
            yield self._index_bits(taken, full), np.concatenate(waiting)

    def _index_bits(self, taken: int, full: int) -> int:
        """Of a block that usually takes so much."""
        return min(max(-(-self.bits * taken // full), LEAST_INDEX_BITS), self.bits)


def arrays(prior: FieldPrior) -> dict[str, ndarray]:
    """Those that a prior's file has in place of a `LatentPrior`'s."""
    return {
        "field": np.array([prior.group, prior.classes], np.uint16),
        "scales": prior.scales.astype(np.int8),
        "narrowing": prior.narrowing.astype(np.int8),
        "usual": prior.usual.astype(np.uint16),
    }


def assembled(stored: dict[str, ndarray], layout: Layout, shared: Shared, kind: str, bits: int) -> FieldPrior:
    """The inverse. Raises ValueError for what no trainer makes, KeyError for what is not there."""
    group, classes = map(int, stored["field"])
    scales, narrowing, usual = (stored[name].astype(np.int64) for name in ("scales", "narrowing", "usual"))
    weights = tuple(map(float, stored["weights"]))
    prior = FieldPrior(layout, shared, kind, weights, classes, group, scales, narrowing, usual, bits)
    prior.check()
    return prior
