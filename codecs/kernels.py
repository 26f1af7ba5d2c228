"""The loops of the range coder, compiled: the only arithmetic that touches its state.

A coder's state is an array of three int64, so that one kernel can go on where another stopped:

- encoder: the bottom of the interval (below 2^33; a carry may be pending), its range, the number of bytes written;
- decoder: the code less the bottom of the interval, the range, the position of the next byte.

Kernels do not check array bounds. An encoder's buffer must have room for `BYTES_PER_SYMBOL` bytes for each symbol; the
decoder's data end in zero bytes, and no kernel reads past them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from jaxtyping import Int, UInt8
from numpy import ndarray

RANGE_BITS = 32
TOP = 1 << RANGE_BITS
BOTTOM = 1 << (RANGE_BITS - 8)  # below this the range is renormalised
MASK = TOP - 1
BYTES_PER_SYMBOL = 2  # a range of 2^24 shrinks to 2^8 at most
MAX_GOLOMB_BITS = 33  # numbers in a sound stream stay below 2^33

LOW, RANGE, LENGTH = 0, 1, 2  # of an encoder's state
CODE, POSITION = 0, 2  # of a decoder's, whose range is at the same place

State = Int[ndarray, " 3"]
Bytes = UInt8[ndarray, " bytes"]
Integers = Int[ndarray, " n"]
Function = TypeVar("Function", bound=Callable[..., Any])


# Kernels allocate nothing, so nothing need count references to arrays (`_nrt`): that took half of their time.
# They touch no objects of Python either, so tiles can be decoded side by side (`nogil`).
_compile: Any = functools.partial(cast(Any, numba.njit), _nrt=False, nogil=True)


def kernel(signature: str) -> Callable[[Function], Function]:
    """Compiles a function of integers and arrays of them when it is first called, and keeps the machine code on disk
    where that is possible.

    The code on disk is made anew when the file of the function changes, but not when that of one of its parts does.
    """

    def lazy(function: Function) -> Function:
        @functools.cache
        def compiled() -> Function:
            try:
                return cast(Function, _compile(signature, cache=True)(function))
            except (RuntimeError, OSError):  # no folder to keep it in, or no room there
                return cast(Function, _compile(signature)(function))

        @functools.wraps(function)
        def call(*arguments: object) -> object:
            return compiled()(*arguments)

        return cast(Function, call)

    return lazy


def part(function: Function) -> Function:
    """A function that is compiled into the kernels that call it."""
    return cast(Function, _compile(function, forceinline=True))


@part
def put(state: State, out: Bytes, start: int, size: int, total_bits: int) -> None:
    """Codes the interval [start, start + size) of [0, 2^total_bits)."""
    unit = state[RANGE] >> total_bits
    low = state[LOW] + start * unit
    width = size * unit
    while width < BOTTOM:
        if low > MASK:
            low -= TOP
            carry(out, state[LENGTH])
        out[state[LENGTH]] = low >> (RANGE_BITS - 8)
        state[LENGTH] += 1
        low = (low << 8) & MASK
        width <<= 8
    state[LOW] = low
    state[RANGE] = width


@part
def carry(out: Bytes, length: int) -> None:
    """Adds 1 to the number whose digits are the first `length` bytes of `out`."""
    position = length - 1
    while out[position] == 255:
        out[position] = 0
        position -= 1
    out[position] += 1


@part
def put_bits(state: State, out: Bytes, value: int, n: int) -> None:
    """Codes the `n` low bits of `value` as they are, the highest 16 first."""
    while n > 0:
        step = min(n, 16)
        n -= step
        put(state, out, (value >> n) & ((1 << step) - 1), 1, step)


@part
def put_exp_golomb(state: State, out: Bytes, value: int, order: int) -> None:
    """Codes `value >= 0` in raw bits: an Exp-Golomb code, shortest for values below 2^order."""
    shifted = value + (1 << order)
    n = order
    while shifted >> (n + 1):
        put(state, out, 0, 1, 1)
        n += 1
    put(state, out, 1, 1, 1)
    put_bits(state, out, shifted & ((1 << n) - 1), n)


@part
def take(state: State, data: Bytes, start: int, size: int, unit: int) -> bool:
    """Reads past the interval [start, start + size) in multiples of `unit`; false past the end of the data."""
    code = state[CODE] - start * unit
    width = size * unit
    while width < BOTTOM:
        if state[POSITION] >= len(data):
            return False
        code = code << 8 | data[state[POSITION]]
        state[POSITION] += 1
        width <<= 8
    state[CODE] = code
    state[RANGE] = width
    return True


@part
def take_bits(state: State, data: Bytes, n: int) -> int:
    """The next `n` raw bits as a number, or -1 where the data are damaged."""
    value = 0
    while n > 0:
        step = min(n, 16)
        n -= step
        unit = state[RANGE] >> step
        digit = state[CODE] // unit
        if digit >> step or not take(state, data, digit, 1, unit):
            return -1
        value = value << step | digit
    return value


@part
def take_exp_golomb(state: State, data: Bytes, order: int) -> int:
    """The next Exp-Golomb number, or -1 where the data are damaged."""
    n = order
    bit = take_bits(state, data, 1)
    while bit == 0:
        n += 1
        if n > MAX_GOLOMB_BITS:
            return -1
        bit = take_bits(state, data, 1)
    digits = take_bits(state, data, n)
    if bit < 0 or digits < 0:
        return -1
    return (1 << n | digits) - (1 << order)


@kernel("boolean(int64[::1], uint8[::1], int64[::1], int64[::1], int64)")
def encode_intervals(state: State, out: Bytes, starts: Integers, sizes: Integers, total_bits: int) -> bool:
    """Codes many intervals of [0, 2^total_bits); stops and returns false at one that is none."""
    for i in range(len(starts)):
        if starts[i] < 0 or sizes[i] < 1 or starts[i] + sizes[i] > 1 << total_bits:
            return False
        put(state, out, starts[i], sizes[i], total_bits)
    return True


@kernel("boolean(int64[::1], uint8[::1], int64, int64, int64)")
def skip_interval(state: State, data: Bytes, start: int, size: int, total_bits: int) -> bool:
    """Reads past an interval of [0, 2^total_bits). False past the end of the data."""
    return take(state, data, start, size, state[RANGE] >> total_bits)


@kernel("boolean(int64[::1], uint8[::1], int64[::1], int64, int64[::1])")
def decode_symbols(state: State, data: Bytes, cumulative: Integers, total_bits: int, symbols: Integers) -> bool:
    """Fills `symbols`; `cumulative` holds every symbol's start, and 2^total_bits. False where the data are damaged."""
    for i in range(len(symbols)):
        unit = state[RANGE] >> total_bits
        point = state[CODE] // unit
        if point >> total_bits:
            return False
        low, high = 0, len(cumulative) - 1
        while high - low > 1:  # cumulative[low] <= point < cumulative[high]
            middle = (low + high) >> 1
            if cumulative[middle] <= point:
                low = middle
            else:
                high = middle
        if not take(state, data, cumulative[low], cumulative[low + 1] - cumulative[low], unit):
            return False
        symbols[i] = low
    return True


@kernel("boolean(int64[::1], uint8[::1], int64, int64[::1])")
def decode_digits(state: State, data: Bytes, n_bits: int, digits: Integers) -> bool:
    """Fills `digits` with numbers of `n_bits` raw bits each. False where the data are damaged."""
    for i in range(len(digits)):
        digits[i] = take_bits(state, data, n_bits)
        if digits[i] < 0:
            return False
    return True


@kernel("void(int64[::1], uint8[::1], int64[::1], int64)")
def encode_escapes(state: State, out: Bytes, values: Integers, order: int) -> None:
    """Codes signed `values`, none of them 0: a raw bit, 1 for negative; magnitude - 1 as an Exp-Golomb number."""
    for i in range(len(values)):
        put_bits(state, out, 1 if values[i] < 0 else 0, 1)
        put_exp_golomb(state, out, abs(values[i]) - 1, order)


@kernel("boolean(int64[::1], uint8[::1], int64, int64[::1])")
def decode_escapes(state: State, data: Bytes, order: int, values: Integers) -> bool:
    """Fills `values` with what `encode_escapes` wrote. False where the data are damaged."""
    for i in range(len(values)):
        negative = take_bits(state, data, 1)
        magnitude = take_exp_golomb(state, data, order) + 1
        if negative < 0 or magnitude < 1:
            return False
        values[i] = -magnitude if negative else magnitude
    return True
