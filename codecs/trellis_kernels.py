"""The Viterbi algorithm of trellis-coded quantisation, compiled."""

from __future__ import annotations

from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.kernels import Integers, kernel, part
from inrzip.codecs.predictive_kernels import (
    EVEN,
    MAX_ERROR,
    TARGET_BITS,
    TRANSITIONS,
    Rows,
    Tables,
    index_cost,
    nearest_index,
    value_of,
)

N_STATES = 8
_UNREACHED = 1 << 62


@part
def best_of_parity(
    tables: Tables, centre: int, log: int, target: int, slope: int, quantiser: int, parity: int
) -> tuple[int, int]:
    """The cheapest index of one parity for a target, and its cost: squared error, and `slope` times its rate.

    Tried are the index whose value is nearest, the next one towards the prediction, and the one nearest to that.
    """
    middle = nearest_index(centre, quantiser)
    nearest = nearest_of_parity(target, quantiser, parity)
    inner = middle + ((middle ^ parity) & 1) * (1 if nearest > middle else -1)
    between = nearest - 2 if nearest > inner else nearest + 2
    best, least = nearest, _UNREACHED
    for candidate in (nearest, between, inner):
        error = min(abs((value_of(candidate, quantiser) << TARGET_BITS) - target), MAX_ERROR)
        cost = error * error + slope * index_cost(tables, centre, log, quantiser, candidate)
        if cost < least:
            best, least = candidate, cost
        if nearest == inner:
            break
    return best, least


@part
def nearest_of_parity(target: int, quantiser: int, parity: int) -> int:
    """The index of that parity whose value is nearest to a target."""
    if quantiser == EVEN:  # values 4 j + 2 parity
        return 2 * ((target - (parity << (TARGET_BITS + 1)) + (2 << TARGET_BITS)) >> (TARGET_BITS + 2)) + parity
    magnitude = abs(target)
    if parity == 1:  # values 1, 5, 9, .. and their negatives
        index = 2 * ((magnitude + (1 << TARGET_BITS)) >> (TARGET_BITS + 2)) + 1
    elif magnitude < 3 << (TARGET_BITS - 1):  # values 0, 3, 7, ..
        index = 0
    else:
        index = 2 * ((magnitude + (3 << TARGET_BITS)) >> (TARGET_BITS + 2))
    return index if target >= 0 else -index


@kernel(
    "void(UniTuple(int64[::1], 6), int64[:,::1], int64[::1], int64, int64[:,::1], int8[:,::1], int64[:,::1], "
    "int64[::1])"
)
def search(
    tables: Tables,
    trace: Rows,
    targets: Integers,
    slope: int,
    choices: Int[ndarray, "n 4"],
    origins: Int[ndarray, "n 8"],
    paths: Int[ndarray, "2 8"],
    indices: Integers,
) -> None:
    """Fills `indices` with those of least squared error plus `slope` times rate over all of `targets`.

    - `trace`: a prediction and a logarithm of the scale for each element, which rates follow from.
    - `targets`: in 1 / 2^16 step. `slope`: in squared such units for each 1 / 4096 bit.
    - `choices`, `origins`, `paths`: room for the best index of each quantiser and parity, for where each state's best
      path comes from, for the paths' costs.
    """
    n = len(targets)
    paths[0, :] = _UNREACHED
    paths[0, 0] = 0
    for i in range(n):
        old, new = i & 1, 1 - (i & 1)
        paths[new, :] = _UNREACHED
        for branch in range(4):  # quantiser, parity
            quantiser, parity = EVEN + (branch >> 1), branch & 1
            index, cost = best_of_parity(tables, trace[0, i], trace[1, i], targets[i], slope, quantiser, parity)
            choices[i, branch] = index
            for state in range(branch >> 1, N_STATES, 2):
                to = TRANSITIONS[2 * state + parity]
                total = paths[old, state] + cost
                if paths[old, state] < _UNREACHED and total < paths[new, to]:
                    paths[new, to] = total
                    origins[i, to] = 2 * state + parity
        least = paths[new, 0]
        for state in range(1, N_STATES):
            least = min(least, paths[new, state])
        for state in range(N_STATES):  # only differences matter, and sums must not overflow
            if paths[new, state] < _UNREACHED:
                paths[new, state] -= least
    state = 0
    for other in range(1, N_STATES):
        if paths[n & 1, other] < paths[n & 1, state]:
            state = other
    for i in range(n - 1, -1, -1):
        origin = origins[i, state]
        state = origin >> 1
        indices[i] = choices[i, 2 * (state & 1) + (origin & 1)]
