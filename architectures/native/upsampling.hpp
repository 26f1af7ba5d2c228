// From grids to planes of full size, and back: doubling by symmetric filters, and each level's own filter.
//
// All functions are called by every thread of a parallel region, and share rows out. Beyond their ends, rows and columns
// repeat the last sample; gradients of what lies beyond are therefore added to it (`folded`).
#pragma once

#include <algorithm>

#include "shapes.hpp"
#include "vectors.hpp"

constexpr int REACH = 4;  // samples before and after a row that a thread's buffers have room for

struct UpsamplingSums {
    V taps[LEVELS - 1][2][TAPS] = {}, filters[LEVELS - 1][2][FILTER_TAPS] = {};
};

// What a thread needs for a row.
struct UpsamplingRow {
    Floats in, before, after, both;

    explicit UpsamplingRow(int width)
        : in(width + 2 * SLACK), before(width + 2 * SLACK), after(width + 2 * SLACK), both(2 * width + 2 * SLACK) {}
};

INLINE int within(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

// Copies a row with its ends repeated, `to` pointing at its first sample.
INLINE void with_ends(const float* from, int n, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    for (int i = 1; i <= REACH; i++) to[-i] = from[0], to[n - 1 + i] = from[n - 1];
}

// Copies a row with zeros around it.
INLINE void with_zeros(const float* from, int n, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    for (int i = 1; i <= 2 * REACH; i++) to[-i] = 0;
    std::memset(to + n, 0, (SLACK - 2 * REACH) * sizeof(float));
}

// Adds what lies up to `reach` samples beyond the ends to the first and the last sample.
INLINE void folded(float* row, int n, int reach) {
    for (int i = 1; i <= reach; i++) row[0] += row[-i], row[n - 1] += row[n - 1 + i];
}

// Sums of products of two rows of n samples; those of `left` beyond n must be zero.
INLINE V dot(const float* left, const float* right, int n) {
    V sum = {};
    for (int j = 0; j < n; j += LANES) sum += load(left + j) * load(right + j);
    return sum;
}

// A row of n samples to one of `wide`, 2n or 2n - 1.
inline void stretch_row(const float* from, int n, const float* taps, float* to, int wide, UpsamplingRow& row) {
    float *in = row.in.data() + SLACK, *before = row.before.data(), *after = row.after.data(), *both = row.both.data();
    with_ends(from, n, in);
    for (int j = 0; j < n; j += LANES) {
        V middle = load(in + j) * taps[0], left = load(in + j - 1), right = load(in + j + 1);
        store(before + j, middle + left * taps[1] + right * taps[2] + load(in + j - 2) * taps[3]);
        store(after + j, middle + right * taps[1] + left * taps[2] + load(in + j + 2) * taps[3]);
    }
    for (int j = 0; j < n; j++) both[2 * j] = before[j], both[2 * j + 1] = after[j];
    std::memcpy(to, both, wide * sizeof(float));
}

// The gradient of `stretch_row`, by its n samples and by its taps.
inline void stretch_row_back(const float* by, int wide, const float* from, int n, const float* taps, float* to,
                             V* by_taps, UpsamplingRow& row) {
    float *in = row.in.data() + SLACK, *before = row.before.data() + SLACK, *after = row.after.data() + SLACK;
    float* both = row.both.data();
    std::memcpy(both, by, wide * sizeof(float));
    both[wide] = 0;
    for (int j = 0; j < n; j++) before[j] = both[2 * j], after[j] = both[2 * j + 1];
    for (int i = 1; i <= 2 * REACH; i++) before[-i] = after[-i] = 0;
    std::memset(before + n, 0, (SLACK - 2 * REACH) * sizeof(float));
    std::memset(after + n, 0, (SLACK - 2 * REACH) * sizeof(float));
    with_ends(from, n, in);
    V sums[TAPS] = {};
    for (int j = 0; j < n; j += LANES) {
        V b = load(before + j), a = load(after + j), left = load(in + j - 1), right = load(in + j + 1);
        sums[0] += (b + a) * load(in + j);
        sums[1] += b * left + a * right;
        sums[2] += b * right + a * left;
        sums[3] += b * load(in + j - 2) + a * load(in + j + 2);
    }
    for (int k = 0; k < TAPS; k++) by_taps[k] += sums[k];
    float* out = both + REACH;  // what was there is in `before` and `after`
    for (int j = -2; j < n + 2; j += LANES)
        store(out + j, (load(before + j) + load(after + j)) * taps[0] +
                           (load(before + j + 1) + load(after + j - 1)) * taps[1] +
                           (load(before + j - 1) + load(after + j + 1)) * taps[2] +
                           (load(before + j + 2) + load(after + j - 2)) * taps[3]);
    folded(out, n, 2);
    std::memcpy(to, out, n * sizeof(float));
}

// A row through a level's own filter.
inline void filter_row(const float* from, int n, const float* taps, float* to, UpsamplingRow& row) {
    float *in = row.in.data() + SLACK, *out = row.both.data();
    with_ends(from, n, in);
    for (int j = 0; j < n; j += LANES) {
        V sum = load(in + j) * taps[0];
        for (int k = 1; k < FILTER_TAPS; k++) sum += (load(in + j - k) + load(in + j + k)) * taps[k];
        store(out + j, sum);
    }
    std::memcpy(to, out, n * sizeof(float));
}

inline void filter_row_back(const float* by, const float* from, int n, const float* taps, float* to, V* by_taps,
                            UpsamplingRow& row) {
    float *in = row.in.data() + SLACK, *given = row.before.data() + SLACK, *out = row.both.data() + REACH;
    with_ends(from, n, in);
    with_zeros(by, n, given);
    V sums[FILTER_TAPS] = {};
    for (int j = 0; j < n; j += LANES) {
        V g = load(given + j);
        sums[0] += g * load(in + j);
        for (int k = 1; k < FILTER_TAPS; k++) sums[k] += g * (load(in + j - k) + load(in + j + k));
    }
    for (int k = 0; k < FILTER_TAPS; k++) by_taps[k] += sums[k];
    for (int j = -3; j < n + 3; j += LANES) {
        V sum = load(given + j) * taps[0];
        for (int k = 1; k < FILTER_TAPS; k++) sum += (load(given + j - k) + load(given + j + k)) * taps[k];
        store(out + j, sum);
    }
    folded(out, n, 3);
    std::memcpy(to, out, n * sizeof(float));
}

// to = sum of scale[i] * rows[i]; a null row is zero.
template <int N>
INLINE void mixed(const float* const (&rows)[N], const float (&scales)[N], float* to, int n) {
    const float* there[N];
    float scale[N];
    int m = 0;
    for (int i = 0; i < N; i++)
        if (rows[i]) there[m] = rows[i], scale[m++] = scales[i];
    int j = 0;
    for (; j + LANES <= n; j += LANES) {
        V sum = {};
        for (int i = 0; i < m; i++) sum += load(there[i] + j) * scale[i];
        store(to + j, sum);
    }
    for (; j < n; j++) {
        float sum = 0;
        for (int i = 0; i < m; i++) sum += there[i][j] * scale[i];
        to[j] = sum;
    }
}

INLINE void add_row(const float* from, float* to, int n) {
    for (int j = 0; j < n; j++) to[j] += from[j];
}

// Two rows' products are summed over whole vectors only: the last ones may reach into the next row, so they are copied.
INLINE V dot_of_rows(const float* left, const float* right, int n) {
    int whole = n / LANES * LANES;
    V sum = dot(left, right, whole);
    for (int j = whole; j < n; j++) sum[0] += left[j] * right[j];
    return sum;
}

// Fills `space.planes`; `step` is what a latent of 1 stands for.
inline void upsample(Workspace& space, const Networks<const float>& networks, float step, UpsamplingRow& row) {
    const float* atlas = space.latents.data() + space.margin;
    const Grid& last = space.main_grid(LEVELS - 1);
#pragma omp for schedule(static)
    for (int y = 0; y < last.height; y++)
        for (int x = 0; x < last.width; x++)
            space.planes[LEVELS - 1][y * last.width + x] = step * atlas[last.first + int64_t(y) * space.columns + x];
    for (int level = LEVELS - 2; level >= 0; level--) {
        const Grid &grid = space.main_grid(level), &coarse = space.main_grid(level + 1);
        int above = LEVELS - 1 - level, height = grid.height, width = grid.width;
        const float *taps = networks.taps + level * 2 * TAPS, *filters = networks.filters + level * 2 * FILTER_TAPS;
        float *wide = space.stretched[level].data(), *planes = space.planes[level].data();
        float* filtered = space.filtered[level].data();
#pragma omp for schedule(static)
        for (int i = 0; i < above * coarse.height; i++)
            stretch_row(&space.planes[level + 1][int64_t(i) * coarse.width], coarse.width, taps + TAPS,
                        wide + int64_t(i) * width, width, row);
#pragma omp for schedule(static) nowait
        for (int i = 0; i < above * height; i++) {
            int plane = i / height, y = i % height, middle = y / 2, side = y % 2 ? 1 : -1;
            auto at = [&](int r) { return wide + (int64_t(plane) * coarse.height + within(r, coarse.height)) * width; };
            const float* rows[TAPS] = {at(middle), at(middle + side), at(middle - side), at(middle + 2 * side)};
            const float scales[TAPS] = {taps[0], taps[1], taps[2], taps[3]};
            mixed(rows, scales, planes + (int64_t(plane + 1) * height + y) * width, width);
        }
#pragma omp for schedule(static)
        for (int y = 0; y < height; y++) {
            const float* rows[2 * FILTER_TAPS - 1];
            float scales[2 * FILTER_TAPS - 1];
            for (int k = 0; k < 2 * FILTER_TAPS - 1; k++) {
                rows[k] = atlas + grid.first + int64_t(within(y + k - FILTER_TAPS + 1, height)) * space.columns;
                scales[k] = step * filters[std::abs(k - FILTER_TAPS + 1)];
            }
            mixed(rows, scales, filtered + int64_t(y) * width, width);
            filter_row(filtered + int64_t(y) * width, width, filters + FILTER_TAPS, planes + int64_t(y) * width, row);
        }
    }
}

// From `space.by_planes[0]` to gradients by the latents, which are added to `by_atlas`, and by taps and filters.
inline void upsample_back(Workspace& space, const Networks<const float>& networks, float step, float* by_atlas,
                          UpsamplingRow& row, UpsamplingSums& sums) {
    const float* atlas = space.latents.data() + space.margin;
    for (int level = 0; level < LEVELS - 1; level++) {
        const Grid &grid = space.main_grid(level), &coarse = space.main_grid(level + 1);
        int above = LEVELS - 1 - level, height = grid.height, width = grid.width;
        const float *taps = networks.taps + level * 2 * TAPS, *filters = networks.filters + level * 2 * FILTER_TAPS;
        const float *wide = space.stretched[level].data(), *by_planes = space.by_planes[level].data();
        float *by_filtered = space.by_filtered[level].data(), *by_wide = space.by_stretched[level].data();
#pragma omp for schedule(static) nowait
        for (int y = 0; y < height; y++) {
            int64_t at = int64_t(y) * width;
            filter_row_back(by_planes + at, &space.filtered[level][at], width, filters + FILTER_TAPS, by_filtered + at,
                            sums.filters[level][1], row);
        }
#pragma omp for schedule(static)
        for (int i = 0; i < above * coarse.height; i++) {
            int plane = i / coarse.height, y = i % coarse.height;
            const float* by = by_planes + int64_t(plane + 1) * height * width;
            auto even = [&](int r) { return r < 0 || 2 * r >= height ? nullptr : by + int64_t(2 * r) * width; };
            auto odd = [&](int r) { return r < 0 || 2 * r + 1 >= height ? nullptr : by + int64_t(2 * r + 1) * width; };
            float* to = by_wide + int64_t(i) * width;
            bool begun = false;
            for (int e = y == 0 ? -2 : y; e <= (y == coarse.height - 1 ? y + 2 : y); e++) {
                const float* rows[2 * TAPS] = {even(e), odd(e), even(e + 1), odd(e - 1),
                                               even(e - 1), odd(e + 1), even(e + 2), odd(e - 2)};
                const float scales[2 * TAPS] = {taps[0], taps[0], taps[1], taps[1], taps[2], taps[2], taps[3], taps[3]};
                float* out = begun ? row.both.data() : to;
                mixed(rows, scales, out, width);
                if (begun) add_row(out, to, width);
                begun = true;
            }
            auto at = [&](int r) { return wide + (int64_t(plane) * coarse.height + within(r, coarse.height)) * width; };
            V* by_taps = sums.taps[level][0];
            for (int side = -1; side <= 1; side += 2) {
                const float* g = side < 0 ? even(y) : odd(y);
                if (!g) continue;
                by_taps[0] += dot_of_rows(g, at(y), width);
                by_taps[1] += dot_of_rows(g, at(y + side), width);
                by_taps[2] += dot_of_rows(g, at(y - side), width);
                by_taps[3] += dot_of_rows(g, at(y + 2 * side), width);
            }
        }
#pragma omp for schedule(static) nowait
        for (int y = 0; y < height; y++) {
            float* to = by_atlas + grid.first + int64_t(y) * space.columns;
            for (int e = y == 0 ? 1 - FILTER_TAPS : y; e <= (y == height - 1 ? y + FILTER_TAPS - 1 : y); e++) {
                const float* rows[2 * FILTER_TAPS - 1];
                float scales[2 * FILTER_TAPS - 1];
                for (int k = 0; k < 2 * FILTER_TAPS - 1; k++) {
                    int r = e + k - FILTER_TAPS + 1;
                    rows[k] = r < 0 || r >= height ? nullptr : by_filtered + int64_t(r) * width;
                    scales[k] = step * filters[std::abs(k - FILTER_TAPS + 1)];
                }
                mixed(rows, scales, row.both.data(), width);
                add_row(row.both.data(), to, width);
            }
            const float* g = by_filtered + int64_t(y) * width;
            auto at = [&](int r) { return atlas + grid.first + int64_t(within(r, height)) * space.columns; };
            V* by_taps = sums.filters[level][0];
            by_taps[0] += step * dot_of_rows(g, at(y), width);
            for (int k = 1; k < FILTER_TAPS; k++)
                by_taps[k] += step * (dot_of_rows(g, at(y - k), width) + dot_of_rows(g, at(y + k), width));
        }
#pragma omp for schedule(static)
        for (int i = 0; i < above * coarse.height; i++)
            stretch_row_back(by_wide + int64_t(i) * width, width, &space.planes[level + 1][int64_t(i) * coarse.width],
                             coarse.width, taps + TAPS, &space.by_planes[level + 1][int64_t(i) * coarse.width],
                             sums.taps[level][1], row);
    }
    const Grid& last = space.main_grid(LEVELS - 1);
#pragma omp for schedule(static)
    for (int y = 0; y < last.height; y++)
        for (int x = 0; x < last.width; x++)
            by_atlas[last.first + int64_t(y) * space.columns + x] += step * space.by_planes[LEVELS - 1][y * last.width + x];
}

inline void add_upsampling(const UpsamplingSums& sums, Networks<float>& to) {
    for (int level = 0; level < LEVELS - 1; level++)
        for (int axis = 0; axis < 2; axis++) {
            for (int k = 0; k < TAPS; k++) to.taps[(level * 2 + axis) * TAPS + k] += total(sums.taps[level][axis][k]);
            for (int k = 0; k < FILTER_TAPS; k++)
                to.filters[(level * 2 + axis) * FILTER_TAPS + k] += total(sums.filters[level][axis][k]);
        }
}
