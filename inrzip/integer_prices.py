"""What integers take under the curves of `inrzip.priors.integer_tables`, about: for trainers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.priors.integer_tables import MASS_BITS, N_TABLES, STEPS_PER_OCTAVE, Family, limit, mass_table


def price(family: Family, table: int, integers: Int[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Bits that integers take, about."""
    if table >= N_TABLES:  # low bits are left out
        octaves = (table - N_TABLES) // STEPS_PER_OCTAVE + 1
        coarser = (integers + (1 << octaves >> 1)) >> octaves
        return octaves + price(family, N_TABLES - STEPS_PER_OCTAVE + table % STEPS_PER_OCTAVE, coarser)
    top = limit(table)
    bits = MASS_BITS - np.log2(np.maximum(mass_table(family, table), 1 << (MASS_BITS - 16)))
    beyond = np.abs(integers) - top
    found = bits[np.where(beyond > 0, 2 * top + 1, integers + top)]
    return np.asarray(found + np.where(beyond > 0, 2 + 2 * np.log2(np.maximum(beyond, 1)), 0), np.float32)
