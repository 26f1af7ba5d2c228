// The distortion: squared errors of the samples that the synthesis network makes of all planes, and their gradients.
#pragma once

#include <algorithm>

#include "shapes.hpp"
#include "vectors.hpp"

constexpr int STRIP = 32;  // rows that are done together

template <int CHANNELS>
struct SynthesisSums {
    V wide[WIDE * LEVELS] = {}, wide_bias[WIDE] = {}, narrow[CHANNELS * WIDE] = {}, straight[CHANNELS * LEVELS] = {};
    V narrow_bias[CHANNELS] = {}, kernel[CHANNELS * CHANNELS * 9] = {}, kernel_bias[CHANNELS] = {};
    double squares = 0;
};

// A thread's rows of a strip: trunks (what enters the convolution) with a sample before and after each row, gradients
// by the samples with two, and gradients by one row's trunk.
template <int CHANNELS>
struct SynthesisStrip {
    int pitch;
    int64_t rows;  // with two more above and below
    Floats trunk, by_samples, by_trunk, nothing;
    alignas(64) float wide[WIDE][CHUNK], by_wide[WIDE][CHUNK];

    SynthesisStrip(int height, int width)
        : pitch(rounded_up(width, CHUNK) + SLACK), rows(std::min(STRIP, height) + 4), trunk(CHANNELS * rows * pitch),
          by_samples(CHANNELS * rows * pitch), by_trunk(int64_t(CHANNELS) * pitch), nothing(pitch) {}
};

// The trunk of a row of n samples, 2 * LANES at a time; more than n may be written.
template <int CHANNELS>
inline void trunk_row(const Networks<const float>& networks, const float* const* in, float* const* out, int n) {
    for (int p = 0; p < n; p += 2 * LANES) {
        V x[LEVELS][2], sums[CHANNELS][2];
        for (int k = 0; k < LEVELS; k++) x[k][0] = load(in[k] + p), x[k][1] = load(in[k] + p + LANES);
        for (int c = 0; c < CHANNELS; c++) {
            sums[c][0] = sums[c][1] = splat(networks.narrow_bias[c]);
            for (int k = 0; k < LEVELS; k++)
                for (int half = 0; half < 2; half++) sums[c][half] += x[k][half] * networks.straight[c * LEVELS + k];
        }
        for (int u = 0; u < WIDE; u++) {
            V unit[2] = {splat(networks.wide_bias[u]), splat(networks.wide_bias[u])};
#pragma GCC unroll 8
            for (int k = 0; k < LEVELS; k++)
                for (int half = 0; half < 2; half++) unit[half] += x[k][half] * networks.wide[u * LEVELS + k];
            for (int c = 0; c < CHANNELS; c++)
                for (int half = 0; half < 2; half++)
                    sums[c][half] += positive(unit[half]) * networks.narrow[c * WIDE + u];
        }
        for (int c = 0; c < CHANNELS; c++) store(out[c] + p, sums[c][0]), store(out[c] + p + LANES, sums[c][1]);
    }
}

// Gradients of a row's trunk by what entered it.
template <int CHANNELS>
inline void trunk_row_back(const Networks<const float>& networks, const float* const* in, const float* const* by,
                           float* const* by_in, int width, SynthesisStrip<CHANNELS>& strip,
                           SynthesisSums<CHANNELS>& sums) {
    float turned[LEVELS * WIDE];
    for (int u = 0; u < WIDE; u++)
        for (int k = 0; k < LEVELS; k++) turned[k * WIDE + u] = networks.wide[u * LEVELS + k];
    const float *wide[WIDE], *by_wide[WIDE];
    for (int u = 0; u < WIDE; u++) wide[u] = strip.wide[u], by_wide[u] = strip.by_wide[u];
    for (int begin = 0; begin < width; begin += CHUNK) {
        int valid = width - begin < CHUNK ? width - begin : CHUNK, n = rounded_up(valid, 2 * LANES);
        const float *x[LEVELS], *g[CHANNELS];
        for (int k = 0; k < LEVELS; k++) x[k] = in[k] + begin;
        for (int c = 0; c < CHANNELS; c++) g[c] = by[c] + begin;
        products<LEVELS, WIDE>(
            x, networks.wide, n, [&](int u, int) { return splat(networks.wide_bias[u]); },
            [&](int u, int p, V value) { store(strip.wide[u] + p, positive(value)); });
        for (int p = 0; p < n; p += LANES) {
            V gradients[CHANNELS];
            for (int c = 0; c < CHANNELS; c++) gradients[c] = load(g[c] + p);
            for (int u = 0; u < WIDE; u++) {
                V sum = {};
                for (int c = 0; c < CHANNELS; c++) sum += gradients[c] * networks.narrow[c * WIDE + u];
                store(strip.by_wide[u] + p, where(load(wide[u] + p) > 0.0f, sum, V{}));
            }
        }
        outer_products<CHANNELS, WIDE>(g, wide, n, sums.narrow);
        outer_products<CHANNELS, LEVELS>(g, x, n, sums.straight);
        sums_of_rows<CHANNELS>(g, n, sums.narrow_bias);
        outer_products<WIDE, LEVELS>(by_wide, x, n, sums.wide);
        sums_of_rows<WIDE>(by_wide, n, sums.wide_bias);
        products<WIDE, LEVELS>(
            by_wide, turned, n,
            [&](int k, int p) {
                V sum = {};
                for (int c = 0; c < CHANNELS; c++) sum += load(g[c] + p) * networks.straight[c * LEVELS + k];
                return sum;
            },
            [&](int k, int p, V value) {
                float* to = by_in[k] + begin + p;
                if (p + LANES <= valid) store(to, value);
                else
                    for (int i = 0; p + i < valid; i++) to[i] = value[i];
            });
    }
}

// Rows `top` to `bottom` of the picture: squares, and gradients by networks and by the planes (`space.by_planes[0]`).
template <int CHANNELS>
inline void synthesis_strip(Workspace& space, const Networks<const float>& networks, const float* target, int top,
                            int bottom, SynthesisStrip<CHANNELS>& strip, SynthesisSums<CHANNELS>& sums) {
    int height = space.height, width = space.width, pitch = strip.pitch;
    int64_t area = int64_t(height) * width;
    auto trunk = [&](int c, int y) {  // its first sample; rows beyond the picture repeat its ends
        y = y < 0 ? 0 : y >= height ? height - 1 : y;
        return strip.trunk.data() + (c * strip.rows + y - top + 2) * pitch + 1;
    };
    auto by_samples = [&](int c, int y) {
        return strip.by_samples.data() + (c * strip.rows + y - top + 2) * pitch + 2;
    };
    for (int y = top < 2 ? 0 : top - 2; y < bottom + 2 && y < height; y++) {
        const float* in[LEVELS];
        float* out[CHANNELS];
        for (int k = 0; k < LEVELS; k++) in[k] = space.planes[0].data() + k * area + int64_t(y) * width;
        for (int c = 0; c < CHANNELS; c++) out[c] = trunk(c, y);
        trunk_row<CHANNELS>(networks, in, out, width);
        for (int c = 0; c < CHANNELS; c++) out[c][-1] = out[c][0], out[c][width] = out[c][width - 1];
    }

    for (int y = top < 1 ? 0 : top - 1; y < bottom + 1 && y < height; y++) {
        bool counted = y >= top && y < bottom;
        V squares = {};
        for (int p = 0; p < width; p += LANES) {
            V samples[CHANNELS];
            for (int o = 0; o < CHANNELS; o++) samples[o] = load(trunk(o, y) + p) + networks.kernel_bias[o];
            for (int c = 0; c < CHANNELS; c++)
                for (int i = 0; i < 3; i++) {
                    const float* from = trunk(c, y + i - 1) + p - 1;
                    for (int j = 0; j < 3; j++) {
                        V x = load(from + j);
                        for (int o = 0; o < CHANNELS; o++)
                            samples[o] += x * networks.kernel[(o * CHANNELS + c) * 9 + i * 3 + j];
                    }
                }
            I there = lane_numbers() + p < width;
            for (int o = 0; o < CHANNELS; o++) {
                V wanted = {};
                const float* from = target + o * area + int64_t(y) * width + p;
                if (p + LANES <= width) wanted = load(from);
                else
                    for (int i = 0; p + i < width; i++) wanted[i] = from[i];
                V error = where(there, samples[o] - wanted, V{});
                squares += error * error;
                store(by_samples(o, y) + p, 2.0f * error);
            }
        }
        for (int o = 0; o < CHANNELS; o++) {
            float* row = by_samples(o, y);
            row[-1] = row[-2] = 0;
            std::memset(row + width, 0, SLACK / 2 * sizeof(float));
        }
        if (!counted) continue;
        sums.squares += total(squares);
        for (int o = 0; o < CHANNELS; o++) {
            V sum = {};
            for (int p = 0; p < width; p += LANES) sum += load(by_samples(o, y) + p);
            sums.kernel_bias[o] += sum;
        }
        for (int c = 0; c < CHANNELS; c++)
            for (int i = 0; i < 3; i++) {
                const float* from = trunk(c, y + i - 1) - 1;
                const float* by[CHANNELS];
                for (int o = 0; o < CHANNELS; o++) by[o] = by_samples(o, y);
                V block[CHANNELS][3] = {};
                for (int p = 0; p < width; p += LANES) {
                    V x[3] = {load(from + p), load(from + p + 1), load(from + p + 2)};
                    for (int o = 0; o < CHANNELS; o++) {
                        V g = load(by[o] + p);
                        for (int j = 0; j < 3; j++) block[o][j] += g * x[j];
                    }
                }
                for (int o = 0; o < CHANNELS; o++)
                    for (int j = 0; j < 3; j++) sums.kernel[(o * CHANNELS + c) * 9 + i * 3 + j] += block[o][j];
            }
    }

    for (int y = top; y < bottom; y++) {
        float* by_trunk[CHANNELS];
        for (int c = 0; c < CHANNELS; c++) {
            by_trunk[c] = strip.by_trunk.data() + c * pitch + 1;
            std::memset(by_trunk[c] - 1, 0, pitch * sizeof(float));
        }
        // rows beyond the picture repeat its ends, so their gradients belong to these
        for (int e = y == 0 ? -1 : y; e <= (y == height - 1 ? height : y); e++) {
            const float* rows[CHANNELS][3];
            for (int o = 0; o < CHANNELS; o++)
                for (int i = 0; i < 3; i++) {
                    int r = e - i + 1;
                    rows[o][i] = r < 0 || r >= height ? strip.nothing.data() + 2 : by_samples(o, r);
                }
            for (int p = -1; p < width + 1; p += LANES) {
                V sum[CHANNELS];
                for (int c = 0; c < CHANNELS; c++) {
                    sum[c] = load(by_trunk[c] + p);
                    if (e == y) sum[c] += load(rows[c][1] + p);
                }
                for (int o = 0; o < CHANNELS; o++)
                    for (int i = 0; i < 3; i++)
                        for (int j = 0; j < 3; j++) {
                            V g = load(rows[o][i] + p - j + 1);
                            for (int c = 0; c < CHANNELS; c++)
                                sum[c] += g * networks.kernel[(o * CHANNELS + c) * 9 + i * 3 + j];
                        }
                for (int c = 0; c < CHANNELS; c++) store(by_trunk[c] + p, sum[c]);
            }
        }
        const float *in[LEVELS], *by[CHANNELS];
        float* by_in[LEVELS];
        for (int c = 0; c < CHANNELS; c++) {
            by_trunk[c][0] += by_trunk[c][-1];
            by_trunk[c][width - 1] += by_trunk[c][width];
            std::memset(by_trunk[c] + width, 0, SLACK / 2 * sizeof(float));
            by[c] = by_trunk[c];
        }
        for (int k = 0; k < LEVELS; k++) {
            in[k] = space.planes[0].data() + k * area + int64_t(y) * width;
            by_in[k] = space.by_planes[0].data() + k * area + int64_t(y) * width;
        }
        trunk_row_back<CHANNELS>(networks, in, by, by_in, width, strip, sums);
    }
}

template <int CHANNELS>
inline void add_synthesis(const SynthesisSums<CHANNELS>& sums, Networks<float>& to) {
    auto add = [](float* out, const V* from, int n) { for (int i = 0; i < n; i++) out[i] += total(from[i]); };
    add(to.wide, sums.wide, WIDE * LEVELS);
    add(to.wide_bias, sums.wide_bias, WIDE);
    add(to.narrow, sums.narrow, CHANNELS * WIDE);
    add(to.straight, sums.straight, CHANNELS * LEVELS);
    add(to.narrow_bias, sums.narrow_bias, CHANNELS);
    add(to.kernel, sums.kernel, CHANNELS * CHANNELS * 9);
    add(to.kernel_bias, sums.kernel_bias, CHANNELS);
}
