// Vectors of floats in the compiler's own extension (GCC and Clang), and the functions of them that fits need.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float V __attribute__((vector_size(LANES * 4)));
typedef int32_t I __attribute__((vector_size(LANES * 4)));

#define INLINE static inline __attribute__((always_inline))

INLINE V load(const float* from) {
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float* to, V value) { std::memcpy(to, &value, sizeof value); }

INLINE V splat(float x) { return x - V{}; }  // x + 0 would be computed, for the sake of -0

INLINE V where(I condition, V yes, V no) { return (V)(((I)yes & condition) | ((I)no & ~condition)); }

INLINE V larger(V a, V b) { return where(a > b, a, b); }

INLINE V smaller(V a, V b) { return where(a < b, a, b); }

INLINE V positive(V a) { return larger(a, V{}); }

INLINE V magnitude(V a) { return (V)((I)a & 0x7fffffff); }

INLINE float total(V a) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += a[i];
    return sum;
}

INLINE I lane_numbers() {
    I numbers;
    for (int i = 0; i < LANES; i++) numbers[i] = i;
    return numbers;
}

INLINE V rounded_down(V x) {
    V whole = __builtin_convertvector(__builtin_convertvector(x, I), V);
    return where(whole > x, whole - 1.0f, whole);
}

// 2^x, to 1e-7 of its value; arguments beyond +-126 count as these.
INLINE V power_of_two(V x) {
    x = larger(smaller(x, splat(126.0f)), splat(-126.0f));
    V whole = rounded_down(x + 0.5f);
    V t = (x - whole) * 0.69314718056f;
    V sum = splat(1.0f / 720);
    sum = sum * t + 1.0f / 120;
    sum = sum * t + 1.0f / 24;
    sum = sum * t + 1.0f / 6;
    sum = sum * t + 0.5f;
    sum = sum * t + 1.0f;
    sum = sum * t + 1.0f;
    I exponent = (__builtin_convertvector(whole, I) + 127) << 23;
    return sum * (V)exponent;
}

INLINE V exponential(V x) { return power_of_two(x * 1.44269504089f); }

// log2(x) of positive normal numbers.
INLINE V logarithm_of_two(V x) {
    I bits = (I)x;
    I exponent = ((bits >> 23) & 0xff) - 127;
    V mantissa = (V)((bits & 0x7fffff) | 0x3f800000);
    I large = mantissa > 1.41421356f;
    mantissa = where(large, mantissa * 0.5f, mantissa);
    V whole = __builtin_convertvector(exponent - large, V);  // a true comparison is -1
    V t = (mantissa - 1.0f) / (mantissa + 1.0f), square = t * t;
    V sum = square * (1.0f / 7) + 1.0f / 5;
    sum = sum * square + 1.0f / 3;
    sum = sum * square + 1.0f;
    return whole + t * sum * 2.88539008178f;
}

// out(o, p) gets from(o, p) + sum over i of weights[o][i] * in[i][p], for p below n, a multiple of 2 * LANES.
template <int INPUTS, int OUTPUTS, class From, class Out>
INLINE void products(const float* const* in, const float* weights, int n, From from, Out out) {
    constexpr int BLOCK = OUTPUTS % 7 == 0 ? 7 : OUTPUTS % 6 == 0 ? 6 : 4;
    static_assert(OUTPUTS % BLOCK == 0, "outputs come in whole blocks");
    for (int p = 0; p < n; p += 2 * LANES) {
        for (int o = 0; o < OUTPUTS; o += BLOCK) {
            V sums[BLOCK][2];
#pragma GCC unroll 8
            for (int k = 0; k < BLOCK; k++) {
                sums[k][0] = from(o + k, p);
                sums[k][1] = from(o + k, p + LANES);
            }
            for (int i = 0; i < INPUTS; i++) {
                V x = load(in[i] + p), y = load(in[i] + p + LANES);
#pragma GCC unroll 8
                for (int k = 0; k < BLOCK; k++) {
                    V weight = splat(weights[(o + k) * INPUTS + i]);
                    sums[k][0] += weight * x;
                    sums[k][1] += weight * y;
                }
            }
#pragma GCC unroll 8
            for (int k = 0; k < BLOCK; k++) {
                out(o + k, p, sums[k][0]);
                out(o + k, p + LANES, sums[k][1]);
            }
        }
    }
}

// sums[a][b] += left[a][p] * right[b][p], lane by lane, for p below n, a multiple of LANES.
template <int A, int B>
INLINE void outer_products(const float* const* left, const float* const* right, int n, V* sums) {
    constexpr int BLOCK_B = B % 7 == 0 ? 7 : LANES == 16 && B % 6 == 0 ? 6 : 4;
    constexpr int BLOCK_A = A < 4 ? A : LANES == 16 && BLOCK_B < 7 ? 4 : 2;
    static_assert(A % BLOCK_A == 0 && B % BLOCK_B == 0, "whole blocks");
    for (int a = 0; a < A; a += BLOCK_A) {
        for (int b = 0; b < B; b += BLOCK_B) {
            V block[BLOCK_A][BLOCK_B] = {};
            for (int p = 0; p < n; p += LANES) {
                V y[BLOCK_B];
#pragma GCC unroll 8
                for (int j = 0; j < BLOCK_B; j++) y[j] = load(right[b + j] + p);
#pragma GCC unroll 8
                for (int i = 0; i < BLOCK_A; i++) {
                    V x = load(left[a + i] + p);
#pragma GCC unroll 8
                    for (int j = 0; j < BLOCK_B; j++) block[i][j] += x * y[j];
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < BLOCK_A; i++)
#pragma GCC unroll 8
                for (int j = 0; j < BLOCK_B; j++) sums[(a + i) * B + b + j] += block[i][j];
        }
    }
}

template <int ROWS>
INLINE void sums_of_rows(const float* const* rows, int n, V* sums) {
    for (int r = 0; r < ROWS; r++) {
        V sum = {};
        for (int p = 0; p < n; p += LANES) sum += load(rows[r] + p);
        sums[r] += sum;
    }
}
