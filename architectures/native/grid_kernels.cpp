// Steps of a fit of latent grids, for CPUs: what `architectures/grid_training.py` has in JAX, several times faster.
//
// Called through `architectures/grid_kernels.py`. Files do not depend on it: decoders never run it.

#include <algorithm>
#include <cmath>
#include <memory>
#include <exception>

#include "context.hpp"
#include "shapes.hpp"
#include "synthesis.hpp"
#include "upsampling.hpp"
#include "vectors.hpp"

namespace {

uint32_t scrambled(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// Rounding made smooth, and its slope; see `soft_round` in grid_training.py.
INLINE V soft_round(V x, float temperature, float range, V* slope) {
    V middle = rounded_down(x) + 0.5f;
    V curve = 1.0f - 2.0f / (exponential((x - middle) * (2 / temperature)) + 1.0f);
    *slope = (1.0f - curve * curve) * (0.5f / (temperature * range));
    return middle + curve * (0.5f / range);
}

// The sum of four uniform numbers, which is nearly normal, of variance 1.
INLINE V nearly_normal(uint32_t first, uint32_t seed) {
    V noise;
    for (int i = 0; i < LANES; i++) {
        uint32_t a = scrambled((first + i) * 2 ^ seed), b = scrambled(((first + i) * 2 + 1) ^ seed);
        noise[i] = float(int32_t((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 2 * 0xffff);
    }
    return noise * (1.7320508f / 65536);
}

template <int CHANNELS>
void cost(Workspace& space, const Networks<const float>& networks, const float* target, float step, float price,
          Networks<float> by_networks, float* by_latents, double* squares_and_bits) {
    Turned turned(networks);
    struct Sums {
        ContextSums context;
        UpsamplingSums upsampling;
        SynthesisSums<CHANNELS> synthesis;
    };
    std::vector<std::unique_ptr<Sums>> all;
    std::vector<std::unique_ptr<ContextRow>> context_row;
    std::vector<UpsamplingRow> upsampling_row(space.threads, UpsamplingRow(space.width));
    std::vector<std::unique_ptr<SynthesisStrip<CHANNELS>>> strip;
    for (int t = 0; t < space.threads; t++) {
        all.push_back(std::make_unique<Sums>());
        context_row.push_back(std::make_unique<ContextRow>(space.width));
        strip.push_back(std::make_unique<SynthesisStrip<CHANNELS>>(space.height, space.width));
    }
    int strips = (space.height + STRIP - 1) / STRIP;

    // Each thread takes its part of every loop, so that sums are the same whenever there are as many threads.
#pragma omp parallel num_threads(space.threads)
    {
#pragma omp for schedule(static, 1)
        for (int t = 0; t < space.threads; t++) {
            Sums& sums = *all[t];
            Floats& gradient = space.gradients[t];
            std::fill(gradient.begin(), gradient.end(), 0.0f);
            float* by_atlas = gradient.data() + space.margin;
            for (int number = 0; number < N_GRIDS; number++) {
                int pairs = (space.grids[number].height + 1) / 2;
                int end = int(int64_t(pairs) * (t + 1) / space.threads);
                for (int pair = int(int64_t(pairs) * t / space.threads); pair < end; pair++)
                    context_rows(space, networks, turned, number, pair, price, by_atlas, *context_row[t],
                                 sums.context);
            }
        }
        upsample(space, networks, step, upsampling_row[thread_number()]);
#pragma omp for schedule(static)
        for (int i = 0; i < strips; i++)
            synthesis_strip<CHANNELS>(space, networks, target, i * STRIP, std::min((i + 1) * STRIP, space.height),
                                      *strip[thread_number()], all[thread_number()]->synthesis);
        upsample_back(space, networks, step, by_latents, upsampling_row[thread_number()],
                      all[thread_number()]->upsampling);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < space.size; i++)
            for (int t = 0; t < space.threads; t++) by_latents[i] += space.gradients[t][space.margin + i];
    }
    squares_and_bits[0] = squares_and_bits[1] = 0;
    for (const auto& sums : all) {
        add_context(sums->context, by_networks);
        add_upsampling(sums->upsampling, by_networks);
        add_synthesis<CHANNELS>(sums->synthesis, by_networks);
        squares_and_bits[0] += sums->synthesis.squares;
        squares_and_bits[1] += sums->context.bits;
    }
}

}  // namespace

extern "C" {

// Whether this processor has what the compiler was told that it has.
int grid_runs_here() {
#ifdef __AVX512F__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return 1;
#endif
}

// A workspace for pictures of a shape; `grids`: level, hyper, height, width and the place in the atlas of each, in coding
// order; null if there is no memory. `grid_close` gives it back.
void* grid_open(int threads, int height, int width, int columns, int64_t size, const int64_t* grids,
                const int64_t* neighbours) try {
#ifndef _OPENMP
    threads = 1;
#endif
    auto space = std::make_unique<Workspace>();
    space->threads = threads, space->height = height, space->width = width;
    space->columns = columns, space->size = size;
    space->margin = int64_t(REACH) * columns + CHUNK + SLACK;
    std::copy(neighbours, neighbours + NEIGHBOURS, space->neighbours);
    for (int i = 0; i < N_GRIDS; i++, grids += 5)
        space->grids.push_back({int(grids[0]), int(grids[1]), int(grids[2]), int(grids[3]), grids[4]});
    space->latents.resize(size + 2 * space->margin);
    space->gradients.resize(threads, Floats(size + 2 * space->margin));
    for (int level = 0; level < LEVELS; level++) {
        const Grid& grid = space->main_grid(level);
        int64_t area = int64_t(grid.height) * grid.width;
        space->planes[level].resize((LEVELS - level) * area + SLACK);
        space->by_planes[level].resize((LEVELS - level) * area + SLACK);
        if (level == LEVELS - 1) break;
        int64_t half = int64_t(space->main_grid(level + 1).height) * grid.width;
        space->stretched[level].resize((LEVELS - 1 - level) * half + SLACK);
        space->by_stretched[level].resize((LEVELS - 1 - level) * half + SLACK);
        space->filtered[level].resize(area + SLACK);
        space->by_filtered[level].resize(area + SLACK);
    }
    return space.release();
} catch (const std::exception&) {  // no memory, or more than there can be
    return nullptr;
}

void grid_close(void* space) { delete static_cast<Workspace*>(space); }

int grid_parameters(int channels) { return n_parameters(channels); }

// Squares, bits, and gradients of squares + price * bits by all parameters and by the latents (of 1 and 3 channels).
// Returns 0, or 1 if there is no memory.
int grid_cost(void* handle, int channels, const float* networks, const float* latents, const float* target, float step, float price,
              float* by_networks, float* by_latents, double* squares_and_bits) try {
    Workspace& space = *static_cast<Workspace*>(handle);
    std::copy(latents, latents + space.size, space.latents.begin() + space.margin);
    std::fill(by_latents, by_latents + space.size, 0.0f);
    std::fill(by_networks, by_networks + n_parameters(channels), 0.0f);
    Networks<const float> given(networks, channels);
    Networks<float> gradients(by_networks, channels);
    (channels == 3 ? cost<3> : cost<1>)(space, given, target, step, price, gradients, by_latents,
                                              squares_and_bits);
    return 0;
} catch (const std::exception&) {  // no memory, or more than there can be
    return 1;
}

// Latents (times gain) nearly rounded, disturbed by noise of deviation `sigma`, and rounded once more; and the slope of
// that by the latents. Both are 0 where the mask is.
void grid_smooth(int threads, int64_t size, const float* latents, const float* mask, float gain, float temperature,
                 float sigma, uint32_t seed, float* smooth, float* slopes) {
    float range = std::tanh(0.5f / temperature);
    int64_t whole = size / LANES * LANES;
    auto one = [&](const float* x, const float* there, uint32_t first, float* to, float* slope) {
        V by_first, by_second;
        V value = soft_round(load(x) * gain, temperature, range, &by_first);
        value = soft_round(value + nearly_normal(first, scrambled(seed)) * sigma, temperature, range, &by_second);
        store(to, value * load(there));
        store(slope, by_first * by_second * load(there) * gain);
    };
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < whole; i += LANES) one(latents + i, mask + i, uint32_t(i), smooth + i, slopes + i);
    if (whole < size) {
        float rest[4][LANES] = {};
        int n = int(size - whole);
        std::copy(latents + whole, latents + size, rest[0]);
        std::copy(mask + whole, mask + size, rest[1]);
        one(rest[0], rest[1], uint32_t(whole), rest[2], rest[3]);
        std::copy(rest[2], rest[2] + n, smooth + whole);
        std::copy(rest[3], rest[3] + n, slopes + whole);
    }
}

// A step of Adam on the latents, for `gradients` times `slopes`. `corrections`: of the means.
void grid_descend(int threads, int64_t size, float* latents, float* means, float* squares, const float* gradients,
                  const float* slopes, float rate, const float* decays, const float* corrections,
                  float epsilon) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < size; i++) {
        float g = gradients[i] * slopes[i];
        float mean = means[i] = decays[0] * means[i] + (1 - decays[0]) * g;
        float square = squares[i] = decays[1] * squares[i] + (1 - decays[1]) * g * g;
        latents[i] -= rate * (mean * corrections[0]) / (std::sqrt(square * corrections[1]) + epsilon);
    }
}

}  // extern "C"
