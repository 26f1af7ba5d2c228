// The rate: bits of all latents under the context network, and their gradients.
#pragma once

#include "shapes.hpp"
#include "vectors.hpp"

constexpr float LEAST_LOG_SCALE = -7, MOST_LOG_SCALE = 7, LEAST_PROBABILITY = 1.0f / 65536, LN2 = 0.69314718056f;

// Sums over samples, lane by lane, of one thread.
struct ContextSums {
    V hidden[HIDDEN_LAYERS][WIDTH * WIDTH] = {}, hidden_bias[HIDDEN_LAYERS][WIDTH] = {};
    V output[2 * WIDTH] = {}, linear[2 * WIDTH] = {}, output_bias[2] = {};
    float coarse[LEVELS - 1][FEATURES * MAX_COARSER] = {}, own[N_HYPER * FEATURES] = {};
    float grid_bias[N_GRIDS * FEATURES] = {};
    double bits = 0;
};

// What a thread needs for a row of latents.
struct ContextRow {
    int pitch;
    Floats features, by_features, half, by_half, coarser, by_coarser;
    alignas(64) float first[WIDTH][CHUNK], second[WIDTH][CHUNK], by_first[WIDTH][CHUNK], by_second[WIDTH][CHUNK];
    alignas(64) float by_inputs[NEIGHBOURS][CHUNK], by_output[2][CHUNK], by_own[CHUNK];

    explicit ContextRow(int width)
        : pitch(rounded_up(width, CHUNK) + SLACK), features(FEATURES * pitch), by_features(FEATURES * pitch),
          half(FEATURES * pitch), by_half(FEATURES * pitch), coarser(MAX_COARSER * pitch), by_coarser(pitch) {}
};

// The weights of the hidden layers, inputs and outputs exchanged.
struct Turned {
    float hidden[HIDDEN_LAYERS][WIDTH * WIDTH];

    explicit Turned(const Networks<const float>& networks) {
        for (int layer = 0; layer < HIDDEN_LAYERS; layer++)
            for (int o = 0; o < WIDTH; o++)
                for (int i = 0; i < WIDTH; i++)
                    hidden[layer][i * WIDTH + o] = networks.hidden[(layer * WIDTH + o) * WIDTH + i];
    }
};

// Bits of latents under Laplace curves over bins of width 1; see `_bits` in grid_training.py. Gradients are times price.
INLINE V bits_of(V centre, V log_scale, V latent, V price, V* by_centre, V* by_log_scale, V* by_latent) {
    V clipped = larger(smaller(log_scale, splat(MOST_LOG_SCALE)), splat(LEAST_LOG_SCALE));
    V inverse = power_of_two(-clipped), offset = latent - centre, distance = magnitude(offset);
    V low = (distance - 0.5f) * inverse, high = (distance + 0.5f) * inverse;
    V tail_low = exponential(-magnitude(low)), tail_high = exponential(-high);
    V mass = 0.5f * where(low < 0.0f, 2.0f - tail_low - tail_high, tail_low - tail_high);
    I possible = mass > LEAST_PROBABILITY;
    mass = where(possible, mass, splat(LEAST_PROBABILITY));
    V by_mass = where(possible, price / (mass * -LN2), V{});
    V by_distance = by_mass * 0.5f * inverse * (tail_high - tail_low);
    V by_inverse = by_mass * 0.5f * (tail_high * (distance + 0.5f) - tail_low * (distance - 0.5f));
    V signed_distance = where(offset < 0.0f, -by_distance, by_distance);
    signed_distance = where(offset == 0.0f, V{}, signed_distance);
    *by_latent = signed_distance;
    *by_centre = -signed_distance;
    *by_log_scale = where(clipped == log_scale, by_inverse * inverse * -LN2, V{});
    return -logarithm_of_two(mass);
}

// `valid` latents from `at` (in the atlas) and `features` (in the row), of which `n`, a multiple of 2 * LANES, are done.
inline void context_chunk(const Networks<const float>& networks, const Turned& turned, const int64_t* offsets,
                          const float* at, float* by_at, int features, int n, int valid, float price, ContextRow& row,
                          ContextSums& sums) {
    const float *inputs[WIDTH], *first[WIDTH], *second[WIDTH], *by_first[WIDTH], *by_second[WIDTH], *by_output[2];
    for (int k = 0; k < NEIGHBOURS; k++) inputs[k] = at + offsets[k];
    for (int k = 0; k < FEATURES; k++) inputs[NEIGHBOURS + k] = row.features.data() + k * row.pitch + features;
    for (int k = 0; k < WIDTH; k++) {
        first[k] = row.first[k], second[k] = row.second[k];
        by_first[k] = row.by_first[k], by_second[k] = row.by_second[k];
    }
    by_output[0] = row.by_output[0], by_output[1] = row.by_output[1];

    products<WIDTH, WIDTH>(
        inputs, networks.hidden, n, [&](int o, int p) { return load(inputs[o] + p) + networks.hidden_bias[o]; },
        [&](int o, int p, V value) { store(row.first[o] + p, positive(value)); });
    products<WIDTH, WIDTH>(
        first, networks.hidden + WIDTH * WIDTH, n,
        [&](int o, int p) { return load(first[o] + p) + networks.hidden_bias[WIDTH + o]; },
        [&](int o, int p, V value) { store(row.second[o] + p, positive(value)); });

    for (int p = 0; p < n; p += LANES) {
        V hidden[2] = {splat(networks.output_bias[0]), splat(networks.output_bias[1])}, linear[2] = {};
#pragma GCC unroll 4
        for (int i = 0; i < WIDTH; i++) {
            V h = load(second[i] + p), x = load(inputs[i] + p);
            for (int o = 0; o < 2; o++) {
                hidden[o] += h * networks.output[o * WIDTH + i];
                linear[o] += x * networks.linear[o * WIDTH + i];
            }
        }
        I there = lane_numbers() + p < valid;
        V by_centre, by_log_scale, by_latent;
        V bits = bits_of(hidden[0] + linear[0], hidden[1] + linear[1], load(at + p), splat(price), &by_centre,
                         &by_log_scale, &by_latent);
        sums.bits += total(where(there, bits, V{}));
        by_centre = where(there, by_centre, V{}), by_log_scale = where(there, by_log_scale, V{});
        store(row.by_output[0] + p, by_centre);
        store(row.by_output[1] + p, by_log_scale);
        store(row.by_own + p, where(there, by_latent, V{}));
        for (int i = 0; i < WIDTH; i++) {
            V by = by_centre * networks.output[i] + by_log_scale * networks.output[WIDTH + i];
            store(row.by_second[i] + p, where(load(second[i] + p) > 0.0f, by, V{}));
        }
    }

    outer_products<2, WIDTH>(by_output, second, n, sums.output);
    outer_products<2, WIDTH>(by_output, inputs, n, sums.linear);
    sums_of_rows<2>(by_output, n, sums.output_bias);
    outer_products<WIDTH, WIDTH>(by_second, first, n, sums.hidden[1]);
    sums_of_rows<WIDTH>(by_second, n, sums.hidden_bias[1]);
    products<WIDTH, WIDTH>(
        by_second, turned.hidden[1], n, [&](int o, int p) { return load(by_second[o] + p); },
        [&](int o, int p, V value) { store(row.by_first[o] + p, where(load(first[o] + p) > 0.0f, value, V{})); });
    outer_products<WIDTH, WIDTH>(by_first, inputs, n, sums.hidden[0]);
    sums_of_rows<WIDTH>(by_first, n, sums.hidden_bias[0]);
    products<WIDTH, WIDTH>(
        by_first, turned.hidden[0], n,
        [&](int o, int p) {
            return load(by_first[o] + p) + load(by_output[0] + p) * networks.linear[o] +
                   load(by_output[1] + p) * networks.linear[WIDTH + o];
        },
        [&](int o, int p, V value) {
            float* to = o < NEIGHBOURS ? row.by_inputs[o]
                                       : row.by_features.data() + (o - NEIGHBOURS) * row.pitch + features;
            store(to + p, value);
        });

    for (int k = 0; k < NEIGHBOURS; k++) {
        float* to = by_at + offsets[k];
        for (int p = 0; p < n; p += LANES) store(to + p, load(to + p) + load(row.by_inputs[k] + p));
    }
    for (int p = 0; p < n; p += LANES) store(by_at + p, load(by_at + p) + load(row.by_own + p));
}

// Two rows of a grid, which share what coarser grids say: features, bits, and all gradients.
inline void context_rows(const Workspace& space, const Networks<const float>& networks, const Turned& turned,
                         int number, int pair, float price, float* by_atlas, ContextRow& row,
                         ContextSums& sums) {
    const Grid& grid = space.grids[number];
    const float* atlas = space.latents.data() + space.margin;
    int half = (grid.width + 1) / 2, known = grid.level < LEVELS - 1 ? n_coarser(grid.level) : 0;
    const float* weights = grid.level < LEVELS - 1 ? networks.coarse[grid.level] : nullptr;
    const float* bias = networks.grid_bias + number * FEATURES;

    // the coarser grids in the order of `coarse`: coarse to fine, the main one of a level first
    int64_t coarse_first[MAX_COARSER];
    int shifts[MAX_COARSER];
    for (int n = 0, level = LEVELS - 1; level > grid.level; level--)
        for (int hyper = 0; hyper < 2; hyper++)
            for (const Grid& other : space.grids)
                if (other.level == level && other.hyper == hyper) {
                    shifts[n] = level - grid.level - 1;
                    coarse_first[n] = other.first + int64_t(pair >> shifts[n]) * space.columns;
                    n++;
                }
    for (int n = 0; n < known; n++) {
        const float* from = atlas + coarse_first[n];
        float* to = row.coarser.data() + n * row.pitch;
        if (shifts[n] == 0) std::memcpy(to, from, half * sizeof(float));
        else
            for (int j = 0; j < half; j++) to[j] = from[j >> shifts[n]];
    }
    for (int f = 0; f < FEATURES; f++) {
        float* to = row.half.data() + f * row.pitch;
        for (int j = 0; j < half; j++) to[j] = bias[f];
        for (int n = 0; n < known; n++) {
            const float* from = row.coarser.data() + n * row.pitch;
            float weight = weights[f * known + n];
            for (int j = 0; j < half; j++) to[j] += weight * from[j];
        }
        std::memset(row.by_half.data() + f * row.pitch, 0, half * sizeof(float));
    }
    const Grid* hyper = nullptr;
    if (!grid.hyper && grid.level >= FIRST_HYPER) hyper = &space.grids[number - 1];
    int own = (grid.level - FIRST_HYPER) * FEATURES;

    for (int y = 2 * pair; y < 2 * pair + 2 && y < grid.height; y++) {
        int64_t begin = grid.first + int64_t(y) * space.columns;
        const float* same = hyper ? atlas + hyper->first + int64_t(y) * space.columns : nullptr;
        for (int f = 0; f < FEATURES; f++) {
            const float* from = row.half.data() + f * row.pitch;
            float* to = row.features.data() + f * row.pitch;
            for (int j = 0; j < half; j++) to[2 * j] = to[2 * j + 1] = from[j];
            if (same)
                for (int x = 0; x < grid.width; x++) to[x] += networks.own[own + f] * same[x];
        }
        for (int x = 0; x < grid.width; x += CHUNK) {
            int valid = grid.width - x < CHUNK ? grid.width - x : CHUNK;
            context_chunk(networks, turned, space.neighbours, atlas + begin + x, by_atlas + begin + x, x,
                          rounded_up(valid, 2 * LANES), valid, price, row, sums);
        }
        float* by_same = same ? by_atlas + hyper->first + int64_t(y) * space.columns : nullptr;
        for (int f = 0; f < FEATURES; f++) {
            float* by = row.by_features.data() + f * row.pitch;
            if (same) {
                float sum = 0;
                for (int x = 0; x < grid.width; x++) sum += by[x] * same[x];
                sums.own[own + f] += sum;
                for (int x = 0; x < grid.width; x++) by_same[x] += networks.own[own + f] * by[x];
            }
            by[grid.width] = 0;
            float* to = row.by_half.data() + f * row.pitch;
            for (int j = 0; j < half; j++) to[j] += by[2 * j] + by[2 * j + 1];
        }
    }

    for (int f = 0; f < FEATURES; f++) {
        const float* by = row.by_half.data() + f * row.pitch;
        V sum = {};
        int j = 0;
        for (; j + LANES <= half; j += LANES) sum += load(by + j);
        float rest = total(sum);
        for (; j < half; j++) rest += by[j];
        sums.grid_bias[number * FEATURES + f] += rest;
        for (int n = 0; n < known; n++) {
            const float* from = row.coarser.data() + n * row.pitch;
            V dot = {};
            for (j = 0; j + LANES <= half; j += LANES) dot += load(by + j) * load(from + j);
            rest = total(dot);
            for (; j < half; j++) rest += by[j] * from[j];
            sums.coarse[grid.level][f * known + n] += rest;
        }
    }
    for (int n = 0; n < known; n++) {
        float* sum = row.by_coarser.data();
        std::memset(sum, 0, half * sizeof(float));
        for (int f = 0; f < FEATURES; f++) {
            const float* by = row.by_half.data() + f * row.pitch;
            float weight = weights[f * known + n];
            for (int j = 0; j < half; j++) sum[j] += weight * by[j];
        }
        float* to = by_atlas + coarse_first[n];
        for (int j = 0; j < half; j++) to[j >> shifts[n]] += sum[j];
    }
}

inline void add_context(const ContextSums& sums, Networks<float>& to) {
    auto add = [](float* out, const V* from, int n) { for (int i = 0; i < n; i++) out[i] += total(from[i]); };
    auto plus = [](float* out, const float* from, int n) { for (int i = 0; i < n; i++) out[i] += from[i]; };
    for (int layer = 0; layer < HIDDEN_LAYERS; layer++) {
        add(to.hidden + layer * WIDTH * WIDTH, sums.hidden[layer], WIDTH * WIDTH);
        add(to.hidden_bias + layer * WIDTH, sums.hidden_bias[layer], WIDTH);
    }
    add(to.output, sums.output, 2 * WIDTH);
    add(to.linear, sums.linear, 2 * WIDTH);
    add(to.output_bias, sums.output_bias, 2);
    for (int level = 0; level < LEVELS - 1; level++)
        plus(to.coarse[level], sums.coarse[level], FEATURES * n_coarser(level));
    plus(to.own, sums.own, N_HYPER * FEATURES);
    plus(to.grid_bias, sums.grid_bias, N_GRIDS * FEATURES);
}
