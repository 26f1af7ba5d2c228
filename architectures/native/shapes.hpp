// The shapes of latent grids and of their networks, as `architectures/grid_layout.py` has them, and a fit's workspace.
#pragma once

#include <cstdint>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

constexpr int LEVELS = 7, FIRST_HYPER = 4, N_HYPER = LEVELS - FIRST_HYPER, N_GRIDS = LEVELS + N_HYPER;
constexpr int NEIGHBOURS = 16, FEATURES = 8, WIDTH = NEIGHBOURS + FEATURES, HIDDEN_LAYERS = 2;
constexpr int WIDE = 32, TAPS = 4, FILTER_TAPS = 4, MAX_COARSER = N_GRIDS - 1;
constexpr int CHUNK = 256;  // samples that go through a network together
constexpr int SLACK = 64;   // floats that may be read and written beyond an array's end

// How many grids are known before those of a level.
constexpr int n_coarser(int level) {
    return LEVELS - 1 - level + (level < FIRST_HYPER ? N_HYPER : LEVELS - 1 - level);
}

// Pointers to all parameters, or to their gradients, which lie one after the other in coding order.
template <class F>
struct Networks {
    F *hidden, *hidden_bias, *output, *linear, *output_bias, *coarse[LEVELS - 1], *own, *grid_bias, *taps, *filters;
    F *wide, *wide_bias, *narrow, *straight, *narrow_bias, *kernel, *kernel_bias, *end;

    Networks(F* at, int channels) {
        auto take = [&at](int n) { F* begin = at; at += n; return begin; };
        hidden = take(HIDDEN_LAYERS * WIDTH * WIDTH);
        hidden_bias = take(HIDDEN_LAYERS * WIDTH);
        output = take(2 * WIDTH);
        linear = take(2 * WIDTH);
        output_bias = take(2);
        for (int level = 0; level < LEVELS - 1; level++) coarse[level] = take(FEATURES * n_coarser(level));
        own = take(N_HYPER * FEATURES);
        grid_bias = take(N_GRIDS * FEATURES);
        taps = take((LEVELS - 1) * 2 * TAPS);
        filters = take((LEVELS - 1) * 2 * FILTER_TAPS);
        wide = take(WIDE * LEVELS);
        wide_bias = take(WIDE);
        narrow = take(channels * WIDE);
        straight = take(channels * LEVELS);
        narrow_bias = take(channels);
        kernel = take(channels * channels * 9);
        kernel_bias = take(channels);
        end = at;
    }
};

inline int n_parameters(int channels) {
    float* none = nullptr;
    Networks<float> networks(none, channels);
    return int(networks.end - none);
}

// A grid: where its first latent lies in the atlas, and its size.
struct Grid {
    int level, hyper, height, width;
    int64_t first;
};

using Floats = std::vector<float>;

// Where each grid lies, and arrays that live as long as a fit.
struct Workspace {
    int threads, height, width, columns;
    int64_t size, margin;            // of the atlas; floats before and after it
    std::vector<Grid> grids;         // in coding order
    int64_t neighbours[NEIGHBOURS];  // of a latent, as offsets in the atlas
    Floats latents;                  // the atlas with its margins
    std::vector<Floats> gradients;   // by the latents, one atlas for each thread
    Floats planes[LEVELS], by_planes[LEVELS];        // all levels up to one, at its size, finest first
    Floats stretched[LEVELS], by_stretched[LEVELS];  // those above it, twice as wide already
    Floats filtered[LEVELS], by_filtered[LEVELS];    // its own latents, filtered along columns

    const Grid& main_grid(int level) const {
        for (const Grid& grid : grids)
            if (grid.level == level && !grid.hyper) return grid;
        __builtin_unreachable();
    }
};

// Of the calling thread, in a parallel region.
inline int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

inline int rounded_up(int n, int unit) { return (n + unit - 1) / unit * unit; }
