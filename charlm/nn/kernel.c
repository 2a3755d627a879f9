/* The time loops of the cells, the softmax and the Adam step, each in one pass over memory that is still in the cache.

   What they compute, and in which layout, is what the NumPy code beside them computes (rnn.py, gru.py, simple_gru.py,
   lstm.py, lstm_peephole.py, head.py, optim.py), where the equations stand. Nothing here is needed: where this file could not be built, NumPy does the work.

   The file includes itself once for each instruction set, and the functions get its name: `lstm_forward_avx512`.
   kernel.py asks `best_target` which to take. T time, B batch, H hidden, G gates, V vocabulary; arrays are dense, row by row. */

#ifndef TARGET

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(name) JOIN(name, TARGET)
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)") /* no element needs another's result */
#define UNROLLED _Pragma("clang loop unroll(full)") /* so that a tile's sums stay in registers */
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))
#define NORM_EPS 1e-5f /* PyTorch's */
#define AT(array, offset) ((array) ? (array) + (offset) : NULL)

/* LANES floats fit a register. A tile of ROWS x (2 * LANES) sums, two vectors of weights and a broadcast fill the registers. */
#if defined(__x86_64__) && defined(__GNUC__) /* Clang says that it is GCC, too */
#define SEVERAL_TARGETS
#define TARGET avx512
#define LANES 16
#define ROWS 12
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#include "kernel.c"
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#include "kernel.c"
#pragma GCC pop_options
#endif
#undef TARGET
#undef LANES
#undef ROWS
#define TARGET avx2
#define LANES 8
#define ROWS 6
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "kernel.c"
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "kernel.c"
#pragma GCC pop_options
#endif
#undef TARGET
#undef LANES
#undef ROWS
#endif

#define TARGET base
#define LANES 4
#define ROWS 6
#include "kernel.c"

uint32_t source_crc(void) { return SOURCE_CRC; }

/* Whether this thread takes numbers below 1.2e-38, float's smallest in full precision, for zeros,
   as they come and as they arise; returns what was so before. At each of them an x86 processor
   stops for a hundred steps or more; others do not. */
int flush_subnormal(int on) {
#ifdef __x86_64__
    const unsigned both = 0x8040; /* MXCSR's flush-to-zero and denormals-are-zero */
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(on ? before | both : before & ~both);
    return (before & both) == both;
#else
    return on;
#endif
}

const char *best_target(void) {
#ifdef SEVERAL_TARGETS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "base";
}

#else /* once for each TARGET */

/* --- products with weights in panels ------------------------------------------------------------------------------- */

#define COLUMNS (2 * LANES)

typedef float NAME(vector) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define VECTOR NAME(vector)

INLINE long NAME(panels)(long columns) { return (columns + COLUMNS - 1) / COLUMNS; }

/* Lay weights [K, N], given by the strides of k and n, out in panels of COLUMNS: panels[panel][k][column], zeros past N. */
static float *NAME(lay_out)(long K, long N, const float *weight, long k_stride, long n_stride) {
    float *panels = malloc(sizeof(float) * NAME(panels)(N) * K * COLUMNS), *out = panels;
    if (!panels) return NULL;
    for (long first = 0; first < N; first += COLUMNS)
        for (long k = 0; k < K; k++)
            for (long n = first; n < first + COLUMNS; n++) *out++ = n < N ? weight[k * k_stride + n * n_stride] : 0;
    return panels;
}

/* out [rows, columns] = (add ? out : 0) + a [rows, K] times one panel; all loops over `rows` unroll, as it is a constant. */
INLINE void NAME(tile)(int rows, long K, const float *a, const float *panel, float *out, long N, long columns, int add) {
    VECTOR sum[ROWS][2];
    UNROLLED
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = (VECTOR){0};
    for (long k = 0; k < K; k++, panel += COLUMNS) {
        VECTOR left = *(const VECTOR *)panel, right = *(const VECTOR *)(panel + LANES);
        UNROLLED
        for (int i = 0; i < rows; i++) {
            float x = a[i * K + k];
            sum[i][0] += left * x;
            sum[i][1] += right * x;
        }
    }
    if (columns == COLUMNS) {
        UNROLLED
        for (int i = 0; i < rows; i++) {
            VECTOR *left = (VECTOR *)(out + i * N), *right = (VECTOR *)(out + i * N + LANES);
            if (add) sum[i][0] += *left, sum[i][1] += *right;
            *left = sum[i][0], *right = sum[i][1];
        }
        return;
    }
    for (int i = 0; i < rows; i++)
        for (long n = 0; n < columns; n++) out[i * N + n] = (add ? out[i * N + n] : 0) + sum[i][n / LANES][n % LANES];
}

#define CASE(rows) case rows: NAME(tile)(rows, K, a + i * K, panel, out + i * N + n, N, columns, add); break;

/* out [M, N] = (add ? out : 0) + a [M, K] times weights in panels [K, N]; the rows are shared evenly among tiles. */
static void NAME(product)(long M, long K, long N, const float *a, const float *panels, float *out, int add) {
    long tiles = (M + ROWS - 1) / ROWS;
    for (long n = 0; n < N; n += COLUMNS) {
        const float *panel = panels + n * K;
        long columns = N - n < COLUMNS ? N - n : COLUMNS;
        for (long t = 0; t < tiles; t++) {
            long i = M * t / tiles, rows = M * (t + 1) / tiles - i;
            switch (rows) {
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if ROWS > 6
                CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
            }
        }
    }
}

#undef CASE

/* --- layer normalisation: recurrence.py has the equations ---------------------------------------------------------- */

enum { NAME(ways) = 4 * LANES }; /* sums side by side, so that the compiler may use vectors */
#define WAYS NAME(ways)

/* The sum of `term` over all i below n. */
#define SUM(n, term) ({ \
    float sums[WAYS] = {0}, total = 0; \
    long whole = n - n % WAYS; \
    for (long first = 0; first < whole; first += WAYS) \
        for (int k = 0; k < WAYS; k++) { \
            long i = first + k; \
            sums[k] += term; \
        } \
    for (long i = whole; i < n; i++) total += term; \
    for (int k = 0; k < WAYS; k++) total += sums[k]; \
    total; \
})

/* What all cells are told by the state: out [B, W] = (add ? out : 0) + h [B, H] times weights in panels; with a gain [W] that is
   multiplied with the normalised product, which stays in `normed` [B, W], and 1 / deviation in `inverse` [B]. */
static void NAME(recur)(long B, long H, long W, const float *h, const float *panels, const float *gain, float *restrict normed,
                        float *restrict inverse, float *restrict out, int add) {
    NAME(product)(B, H, W, h, panels, gain ? normed : out, gain ? 0 : add);
    for (long b = 0; gain && b < B; b++) {
        float *restrict x = normed + b * W, *restrict row = out + b * W;
        float mean = SUM(W, x[i]) / W;
        for (long j = 0; j < W; j++) x[j] -= mean;
        float scale = inverse[b] = 1 / sqrtf(SUM(W, x[i] * x[i]) / W + NORM_EPS);
        for (long j = 0; j < W; j++) {
            x[j] *= scale;
            row[j] = (add ? row[j] : 0) + gain[j] * x[j];
        }
    }
}

/* dh [B, H] = (add ? dh : 0) + the gradient of the state, from da [B, W], that of `out` above. With a gain `normed` becomes
   the gradient of the product, and dgain [W] is added to. */
static void NAME(recur_back)(long B, long H, long W, const float *restrict da, const float *panels, const float *gain,
                             float *restrict normed, const float *inverse, float *restrict dgain, float *dh, int add) {
    for (long b = 0; gain && b < B; b++) {
        float *restrict x = normed + b * W;
        const float *restrict d = da + b * W;
        float mean = SUM(W, gain[i] * d[i]) / W, along = SUM(W, gain[i] * d[i] * x[i]) / W;
        for (long j = 0; j < W; j++) {
            dgain[j] += d[j] * x[j];
            x[j] = inverse[b] * (gain[j] * d[j] - mean - x[j] * along);
        }
    }
    NAME(product)(B, W, H, gain ? normed : da, panels, dh, add);
}

/* --- element by element: written for one number, made for vectors by the compiler ---------------------------------- */

/* exp by x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial in r: within 2 units in the last place. NaN stays NaN. */
INLINE float NAME(exponential)(float x) {
    const float rounder = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to an integer, in its last bits */
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + rounder, n = shifted - rounder;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (int32_t)(((uint32_t)bits + (127 - 0x4b400000u)) << 23); /* 2^n */
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

INLINE float NAME(sigmoid)(float x) { return 1.0f / (1.0f + NAME(exponential)(-x)); }

INLINE float NAME(tangent)(float x) { return 2.0f * NAME(sigmoid)(2.0f * x) - 1.0f; }

#define EXP NAME(exponential)
#define SIGMOID NAME(sigmoid)
#define TANH NAME(tangent)

/* The states a step starts from: as they are, or copied to `space` with the rows of new sequences zeroed. */
INLINE const float *NAME(entered)(long B, long H, const uint8_t *reset, const float *state, float *space) {
    if (!reset || !memchr(reset, 1, B)) return state;
    memcpy(space, state, sizeof(float) * B * H);
    for (long b = 0; b < B; b++)
        if (reset[b]) memset(space + b * H, 0, sizeof(float) * H);
    return space;
}

INLINE void NAME(clear)(long B, long H, const uint8_t *reset, float *state) {
    for (long b = 0; reset && b < B; b++)
        if (reset[b]) memset(state + b * H, 0, sizeof(float) * H);
}

/* --- one step of one column: what the loops below do after the products -------------------------------------------- */

INLINE void NAME(rnn_cell)(long H, int tanh, const float *bias, const float *z, float *h) {
    if (tanh)
        INDEPENDENT
        for (long j = 0; j < H; j++) h[j] = TANH(h[j] + bias[j] + z[j]);
    else
        INDEPENDENT
        for (long j = 0; j < H; j++) {
            float a = h[j] + bias[j] + z[j];
            h[j] = a < 0 ? 0 : a;
        }
}

/* z [3H] becomes the gates' values; p [3H] is W_hh h, hp and h the state before and after, a what r is multiplied with. */
INLINE void NAME(gru_cell)(long H, const float *bias, float *z, const float *p, const float *hp, float *h, float *a) {
    float *r = z, *u = r + H, *n = u + H;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float rj = SIGMOID(r[j] + p[j] + bias[j]), uj = SIGMOID(u[j] + p[H + j] + bias[H + j]);
        float aj = p[2 * H + j] + bias[2 * H + j], nj = TANH(n[j] + rj * aj);
        r[j] = rj, u[j] = uj, n[j] = nj, a[j] = aj;
        h[j] = nj + uj * (hp[j] - nj);
    }
}

/* z [2H] becomes the gates' values; hp and h are the state before and after. */
INLINE void NAME(simple_gru_cell)(long H, const float *bias, float *z, const float *hp, float *h) {
    float *u = z, *n = u + H;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float uj = SIGMOID(u[j] + bias[j]), nj = TANH(n[j] + bias[H + j]);
        u[j] = uj, n[j] = nj;
        h[j] = nj + uj * (hp[j] - nj);
    }
}

/* z [4H] becomes the gates' values; cp is the cell's state before, or not to be looked at where a sequence begins. The
   LSTM with peepholes wi, wf and wo [H] has functions of its own: a common one would be rounded in another way. */
INLINE void NAME(lstm_cell)(long H, int begins, const float *bias, float *z, const float *cp, float *c, float *tanh_c, float *h) {
    float *i = z, *f = i + H, *g = f + H, *o = g + H;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float ij = SIGMOID(i[j] + bias[j]), fj = SIGMOID(f[j] + bias[H + j]);
        float gj = TANH(g[j] + bias[2 * H + j]), oj = SIGMOID(o[j] + bias[3 * H + j]);
        float cj = fj * (begins ? 0 : cp[j]) + ij * gj, tj = TANH(cj);
        i[j] = ij, f[j] = fj, g[j] = gj, o[j] = oj;
        c[j] = cj, tanh_c[j] = tj, h[j] = oj * tj;
    }
}

INLINE void NAME(lstm_peephole_cell)(long H, int begins, const float *bias, const float *wi, const float *wf, const float *wo,
                                     float *z, const float *cp, float *c, float *tanh_c, float *h) {
    float *i = z, *f = i + H, *g = f + H, *o = g + H;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float before = begins ? 0 : cp[j];
        float ij = SIGMOID(i[j] + bias[j] + wi[j] * before), fj = SIGMOID(f[j] + bias[H + j] + wf[j] * before);
        float gj = TANH(g[j] + bias[2 * H + j]), cj = fj * before + ij * gj, tj = TANH(cj);
        float oj = SIGMOID(o[j] + bias[3 * H + j] + wo[j] * cj);
        i[j] = ij, f[j] = fj, g[j] = gj, o[j] = oj;
        c[j] = cj, tanh_c[j] = tj, h[j] = oj * tj;
    }
}

/* The way back: dh and dy [H] are the gradients of h', dc [H] turns from the gradient of c' into that of c. */
INLINE void NAME(lstm_cell_back)(long H, int begins, const float *gates, const float *cp, const float *tc, const float *dyb,
                                 const float *dhb, float *dcb, float *dz) {
    const float *i = gates, *f = i + H, *g = f + H, *o = g + H;
    float *di = dz, *df = di + H, *dg = df + H, *dO = dg + H, kept = begins ? 0 : 1;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float d = dhb[j] + dyb[j], dcj = dcb[j] + d * o[j] * (1 - tc[j] * tc[j]);
        di[j] = dcj * g[j] * i[j] * (1 - i[j]);
        df[j] = dcj * (kept != 0 ? cp[j] : 0) * f[j] * (1 - f[j]);
        dg[j] = dcj * i[j] * (1 - g[j] * g[j]);
        dO[j] = d * tc[j] * o[j] * (1 - o[j]);
        dcb[j] = kept != 0 ? dcj * f[j] : 0;
    }
}

INLINE void NAME(lstm_peephole_cell_back)(long H, int begins, const float *wi, const float *wf, const float *wo,
                                          const float *gates, const float *cp, const float *tc, const float *dyb,
                                          const float *dhb, float *dcb, float *dz) {
    const float *i = gates, *f = i + H, *g = f + H, *o = g + H;
    float *di = dz, *df = di + H, *dg = df + H, *dO = dg + H, kept = begins ? 0 : 1;
    INDEPENDENT
    for (long j = 0; j < H; j++) {
        float d = dhb[j] + dyb[j], dOj = d * tc[j] * o[j] * (1 - o[j]);
        float dcj = dcb[j] + d * o[j] * (1 - tc[j] * tc[j]) + dOj * wo[j];
        float dij = dcj * g[j] * i[j] * (1 - i[j]), dfj = dcj * (kept != 0 ? cp[j] : 0) * f[j] * (1 - f[j]);
        di[j] = dij, df[j] = dfj, dO[j] = dOj;
        dg[j] = dcj * i[j] * (1 - g[j] * g[j]);
        dcb[j] = kept != 0 ? dcj * f[j] + dij * wi[j] + dfj * wf[j] : 0;
    }
}

/* --- the cells: each returns 0, or 1 where memory ran out (as all functions do) ---------------------------------------- */

int NAME(rnn_forward)(long T, long B, long H, int tanh, const uint8_t *reset, const float *weight, const float *bias,
                      const float *gain, float *normed, float *inverse, const float *restrict z, float *restrict h) {
    float *panels = NAME(lay_out)(H, H, weight, 1, H), *space = malloc(sizeof(float) * B * H);
    for (long t = 0; panels && space && t < T; t++) {
        const float *before = NAME(entered)(B, H, reset ? reset + t * B : NULL, h + t * B * H, space);
        float *after = h + (t + 1) * B * H;
        NAME(recur)(B, H, H, before, panels, gain, AT(normed, t * B * H), AT(inverse, t * B), after, 0);
        for (long b = 0; b < B; b++) NAME(rnn_cell)(H, tanh, bias, z + (t * B + b) * H, after + b * H);
    }
    int failed = !panels || !space;
    free(panels), free(space);
    return failed;
}

int NAME(rnn_backward)(long T, long B, long H, int tanh, const uint8_t *reset, const float *weight, const float *gain,
                       float *normed, const float *inverse, float *dgain, const float *restrict h, const float *restrict dy,
                       float *restrict dh, float *restrict dz) {
    float *panels = NAME(lay_out)(H, H, weight, H, 1);
    for (long t = T - 1; panels && t >= 0; t--) {
        const float *y = h + (t + 1) * B * H, *dyt = dy + t * B * H;
        float *da = dz + t * B * H;
        if (tanh)
            for (long j = 0; j < B * H; j++) da[j] = (1 - y[j] * y[j]) * (dh[j] + dyt[j]);
        else
            for (long j = 0; j < B * H; j++) da[j] = y[j] > 0 ? dh[j] + dyt[j] : 0;
        NAME(recur_back)(B, H, H, da, panels, gain, AT(normed, t * B * H), AT(inverse, t * B), dgain, dh, 0);
        NAME(clear)(B, H, reset ? reset + t * B : NULL, dh);
    }
    int failed = !panels;
    free(panels);
    return failed;
}

int NAME(gru_forward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *bias, const float *gain,
                      float *normed, float *inverse, float *restrict z, float *restrict h, float *restrict a) {
    float *panels = NAME(lay_out)(H, 3 * H, weight, 1, H), *space = malloc(sizeof(float) * B * H);
    float *products = malloc(sizeof(float) * B * 3 * H);
    int failed = !panels || !space || !products;
    for (long t = 0; !failed && t < T; t++) {
        const float *before = NAME(entered)(B, H, reset ? reset + t * B : NULL, h + t * B * H, space);
        NAME(recur)(B, H, 3 * H, before, panels, gain, AT(normed, t * B * 3 * H), AT(inverse, t * B), products, 0);
        for (long b = 0; b < B; b++) {
            long row = t * B + b;
            NAME(gru_cell)(H, bias, z + row * 3 * H, products + b * 3 * H, before + b * H, h + (row + B) * H, a + row * H);
        }
    }
    free(panels), free(space), free(products);
    return failed;
}

/* da [T, B, 3H] is the gradient of W_hh h + b_hh, dn [T, B, H] that of the candidate's argument. */
int NAME(gru_backward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *gain, float *normed,
                       const float *inverse, float *dgain, const float *restrict gates, const float *restrict h,
                       const float *restrict a, const float *restrict dy, float *restrict dh, float *restrict da, float *restrict dn) {
    float *panels = NAME(lay_out)(3 * H, H, weight, H, 1), *space = malloc(sizeof(float) * B * H);
    int failed = !panels || !space;
    for (long t = T - 1; !failed && t >= 0; t--) {
        const float *before = NAME(entered)(B, H, reset ? reset + t * B : NULL, h + t * B * H, space);
        for (long b = 0; b < B; b++) {
            const float *r = gates + (t * B + b) * 3 * H, *u = r + H, *n = u + H, *hp = before + b * H;
            const float *at = a + (t * B + b) * H, *dyb = dy + (t * B + b) * H;
            float *dr = da + (t * B + b) * 3 * H, *du = dr + H, *dp = du + H, *dnb = dn + (t * B + b) * H, *dhb = dh + b * H;
            INDEPENDENT
            for (long j = 0; j < H; j++) {
                float d = dhb[j] + dyb[j], dnj = d * (1 - u[j]) * (1 - n[j] * n[j]);
                du[j] = d * (hp[j] - n[j]) * u[j] * (1 - u[j]);
                dr[j] = dnj * at[j] * r[j] * (1 - r[j]);
                dp[j] = dnj * r[j];
                dnb[j] = dnj;
                dhb[j] = d * u[j];
            }
        }
        NAME(recur_back)(B, H, 3 * H, da + t * B * 3 * H, panels, gain, AT(normed, t * B * 3 * H), AT(inverse, t * B), dgain, dh, 1);
        NAME(clear)(B, H, reset ? reset + t * B : NULL, dh);
    }
    free(panels), free(space);
    return failed;
}

int NAME(simple_gru_forward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *bias,
                             const float *gain, float *normed, float *inverse, float *restrict z, float *restrict h) {
    float *panels = NAME(lay_out)(H, 2 * H, weight, 1, H), *space = malloc(sizeof(float) * B * H);
    int failed = !panels || !space;
    for (long t = 0; !failed && t < T; t++) {
        const float *before = NAME(entered)(B, H, reset ? reset + t * B : NULL, h + t * B * H, space);
        NAME(recur)(B, H, 2 * H, before, panels, gain, AT(normed, t * B * 2 * H), AT(inverse, t * B), z + t * B * 2 * H, 1);
        for (long b = 0; b < B; b++)
            NAME(simple_gru_cell)(H, bias, z + (t * B + b) * 2 * H, before + b * H, h + ((t + 1) * B + b) * H);
    }
    free(panels), free(space);
    return failed;
}

int NAME(simple_gru_backward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *gain, float *normed,
                              const float *inverse, float *dgain, const float *restrict gates, const float *restrict h,
                              const float *restrict dy, float *restrict dh, float *restrict dz) {
    float *panels = NAME(lay_out)(2 * H, H, weight, H, 1), *space = malloc(sizeof(float) * B * H);
    int failed = !panels || !space;
    for (long t = T - 1; !failed && t >= 0; t--) {
        const float *before = NAME(entered)(B, H, reset ? reset + t * B : NULL, h + t * B * H, space);
        for (long b = 0; b < B; b++) {
            const float *u = gates + (t * B + b) * 2 * H, *n = u + H, *hp = before + b * H, *dyb = dy + (t * B + b) * H;
            float *du = dz + (t * B + b) * 2 * H, *dn = du + H, *dhb = dh + b * H;
            INDEPENDENT
            for (long j = 0; j < H; j++) {
                float d = dhb[j] + dyb[j];
                du[j] = d * (hp[j] - n[j]) * u[j] * (1 - u[j]);
                dn[j] = d * (1 - u[j]) * (1 - n[j] * n[j]);
                dhb[j] = d * u[j];
            }
        }
        NAME(recur_back)(B, H, 2 * H, dz + t * B * 2 * H, panels, gain, AT(normed, t * B * 2 * H), AT(inverse, t * B), dgain, dh, 1);
        NAME(clear)(B, H, reset ? reset + t * B : NULL, dh);
    }
    free(panels), free(space);
    return failed;
}

/* The peepholes wi, wf and wo [H] are null in an LSTM without, here and on the way back. */
int NAME(lstm_forward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *bias, const float *gain,
                       float *normed, float *inverse, const float *wi, const float *wf, const float *wo, float *restrict z,
                       float *restrict h, float *restrict c, float *restrict tanh_c) {
    float *panels = NAME(lay_out)(H, 4 * H, weight, 1, H), *space = malloc(sizeof(float) * B * H);
    int failed = !panels || !space;
    for (long t = 0; !failed && t < T; t++) {
        const uint8_t *new = reset ? reset + t * B : NULL;
        const float *before = NAME(entered)(B, H, new, h + t * B * H, space);
        NAME(recur)(B, H, 4 * H, before, panels, gain, AT(normed, t * B * 4 * H), AT(inverse, t * B), z + t * B * 4 * H, 1);
        for (long b = 0; b < B; b++) {
            long row = t * B + b;
            float *zb = z + row * 4 * H, *after = c + (row + B) * H, *hb = h + (row + B) * H, *tc = tanh_c + row * H;
            if (wi)
                NAME(lstm_peephole_cell)(H, new && new[b], bias, wi, wf, wo, zb, c + row * H, after, tc, hb);
            else
                NAME(lstm_cell)(H, new && new[b], bias, zb, c + row * H, after, tc, hb);
        }
    }
    free(panels), free(space);
    return failed;
}

int NAME(lstm_backward)(long T, long B, long H, const uint8_t *reset, const float *weight, const float *gain, float *normed,
                        const float *inverse, float *dgain, const float *wi, const float *wf, const float *wo,
                        const float *restrict gates, const float *restrict c, const float *restrict tanh_c,
                        const float *restrict dy, float *restrict dh, float *restrict dc, float *restrict dz) {
    float *panels = NAME(lay_out)(4 * H, H, weight, H, 1);
    for (long t = T - 1; panels && t >= 0; t--) {
        const uint8_t *new = reset ? reset + t * B : NULL;
        for (long b = 0; b < B; b++) {
            long row = t * B + b;
            const float *zb = gates + row * 4 * H, *cp = c + row * H, *tc = tanh_c + row * H, *dyb = dy + row * H;
            float *dzb = dz + row * 4 * H, *dhb = dh + b * H, *dcb = dc + b * H;
            if (wi)
                NAME(lstm_peephole_cell_back)(H, new && new[b], wi, wf, wo, zb, cp, tc, dyb, dhb, dcb, dzb);
            else
                NAME(lstm_cell_back)(H, new && new[b], zb, cp, tc, dyb, dhb, dcb, dzb);
        }
        NAME(recur_back)(B, H, 4 * H, dz + t * B * 4 * H, panels, gain, AT(normed, t * B * 4 * H), AT(inverse, t * B), dgain, dh, 0);
        NAME(clear)(B, H, new, dh);
    }
    int failed = !panels;
    free(panels);
    return failed;
}

/* --- reading: forward passes that keep nothing but the last state ------------------------------------------------- */

/* The width of a panel; the caller lays weights out, once for many calls. */
long NAME(panel)(void) { return COLUMNS; }

/* out [N, V] = bias + x [N, K] times weights in panels: a row's result does not depend on the rows beside it. */
int NAME(affine)(long N, long K, long V, const float *x, const float *panels, const float *bias, float *out) {
    for (long n = 0; n < N; n++) memcpy(out + n * V, bias, sizeof(float) * V);
    NAME(product)(N, K, V, x, panels, out, 1);
    return 0;
}

/* Read T steps of B columns through all layers, step by step; h and c [layers, B, H] go from the first state to the last.

   cell: 0 ReLU, 1 tanh, 2 GRU, 3 LSTM, 4 simple GRU, 5 LSTM with peepholes, which `vectors` points to, three a layer. residual: each layer but the first adds its values to what it read. Step t of column b
   enters layer 0 as row row_of[t, b] of the table [., G H], which has b_ih in it. weights and biases hold W_ih and W_hh
   (in panels), b_ih and b_hh of each layer, gains a pointer each, null without normalisation. y [T, B, H]: what comes out on top. */
int NAME(read)(int cell, int residual, long T, long B, long H, long layers, const int32_t *row_of, const float *table,
               const uint8_t *reset, const float *const *weights, const float *const *biases, const float *const *gains,
               const float *const *vectors, float *h, float *c, float *y) {
    static const int gates[] = {1, 1, 3, 4, 2, 4};
    long width = gates[cell] * H;
    int added = cell >= 3; /* what the state tells is added to the input product before all else */
    float *z = malloc(sizeof(float) * B * width), *p = malloc(sizeof(float) * B * width), *extra = malloc(sizeof(float) * H);
    float *normed = malloc(sizeof(float) * B * width), *inverse = malloc(sizeof(float) * B);
    int failed = !z || !p || !extra || !normed || !inverse;
    for (long t = 0; !failed && t < T; t++) {
        float *x = y + t * B * H; /* what the next layer reads; on top, what comes out */
        for (long k = 0; k < layers; k++) {
            float *hk = h + k * B * H, *ck = c ? c + k * B * H : NULL;
            const float *bias = biases[2 * k + 1];
            if (reset) NAME(clear)(B, H, reset + t * B, hk);
            for (long b = 0; b < B; b++)
                memcpy(z + b * width, k ? biases[2 * k] : table + row_of[t * B + b] * width, sizeof(float) * width);
            if (k) NAME(product)(B, H, width, x, weights[2 * k], z, 1);
            NAME(recur)(B, H, width, hk, weights[2 * k + 1], gains[k], normed, inverse, added ? z : p, added);
            for (long b = 0; b < B; b++) {
                float *hb = hk + b * H, *zb = z + b * width, *pb = p + b * width;
                const float *const *w = vectors + 3 * k;
                int begins = reset && reset[t * B + b];
                if (cell == 3)
                    NAME(lstm_cell)(H, begins, bias, zb, ck + b * H, ck + b * H, extra, hb);
                else if (cell == 5)
                    NAME(lstm_peephole_cell)(H, begins, bias, w[0], w[1], w[2], zb, ck + b * H, ck + b * H, extra, hb);
                else if (cell == 4)
                    NAME(simple_gru_cell)(H, bias, zb, hb, hb);
                else if (cell == 2)
                    NAME(gru_cell)(H, bias, zb, pb, hb, hb, extra);
                else
                    NAME(rnn_cell)(H, cell, bias, zb, memcpy(hb, pb, sizeof(float) * H));
            }
            for (long j = 0; j < B * H; j++) x[j] = (residual && k ? x[j] : 0) + hk[j];
        }
    }
    free(z), free(p), free(extra), free(normed), free(inverse);
    return failed;
}

/* --- around the cells ------------------------------------------------------------------------------------------------ */

/* Log p(target) [N] of logits [N, V]; with `factor` [N] the logits become factor * (p - onehot(target)), else they are used up. */
int NAME(softmax)(long N, long V, float *restrict logits, const int64_t *targets, const float *factor, double *logp) {
    for (long n = 0; n < N; n++, logits += V) {
        float most[WAYS], sums[WAYS] = {0}, chosen, top, total = 0;
        long j = 0;
        for (int k = 0; k < WAYS; k++) most[k] = logits[0];
        for (; j + WAYS <= V; j += WAYS)
            for (int k = 0; k < WAYS; k++) most[k] = logits[j + k] > most[k] ? logits[j + k] : most[k];
        top = most[0];
        for (int k = 1; k < WAYS; k++) top = most[k] > top ? most[k] : top;
        for (; j < V; j++) top = logits[j] > top ? logits[j] : top;
        chosen = logits[targets[n]] - top;
        for (j = 0; j + WAYS <= V; j += WAYS)
            for (int k = 0; k < WAYS; k++) sums[k] += logits[j + k] = EXP(logits[j + k] - top);
        for (; j < V; j++) total += logits[j] = EXP(logits[j] - top);
        for (int k = 0; k < WAYS; k++) total += sums[k];
        logp[n] = (double)chosen - log((double)total);
        if (factor) {
            float scale = factor[n] / total;
            for (j = 0; j < V; j++) logits[j] *= scale;
            logits[targets[n]] -= factor[n];
        }
    }
    return 0;
}

/* out[row_of[n]] += values[n] for rows of `width`. */
int NAME(add_rows)(long N, long width, const int64_t *row_of, const float *restrict values, float *restrict out) {
    for (long n = 0; n < N; n++, values += width) {
        float *restrict row = out + row_of[n] * width;
        for (long j = 0; j < width; j++) row[j] += values[j];
    }
    return 0;
}

/* out[row_of[n]] becomes the largest of itself and values[n], element by element; where that is a new one, `which` is n. NaN
   stays. */
int NAME(max_rows)(long N, long width, const int64_t *row_of, const float *restrict values, float *restrict out,
                   int32_t *restrict which) {
    for (long n = 0; n < N; n++, values += width) {
        float *restrict row = out + row_of[n] * width;
        int32_t *restrict place = which + row_of[n] * width;
        INDEPENDENT
        for (long j = 0; j < width; j++) {
            float before = row[j], value = values[j];
            int larger = !(value <= before) & (before == before);
            row[j] = larger ? value : before;
            place[j] = larger ? (int32_t)n : place[j];
        }
    }
    return 0;
}

/* --- chains of tags -------------------------------------------------------------------------------------------------- */

/* What crf.py's `_chain` does, sentence by sentence: the places of sentence s are starts[s] to starts[s + 1] - 1. `turned` is
   the transpose of `step`. */
int NAME(chain)(long S, long L, const int64_t *starts, const double *turned, const double *shift, const double *e,
                const double *step, const double *start, const double *end, double *alpha, double *p, double *later, double *logz) {
    double *z = malloc(sizeof(double) * L), *told = malloc(sizeof(double) * L);
    int failed = !z || !told;
    for (long s = 0; !failed && s < S; s++) {
        for (long n = starts[s]; n < starts[s + 1]; n++) {
            const double *en = e + n * L;
            double *restrict a = alpha + n * L, total = 0;
            if (n == starts[s])
                memcpy(a, start, sizeof(double) * L);
            else {
                memset(a, 0, sizeof(double) * L);
                for (long i = 0; i < L; i++) {
                    double w = alpha[(n - 1) * L + i];
                    const double *row = step + i * L;
                    INDEPENDENT
                    for (long j = 0; j < L; j++) a[j] += w * row[j];
                }
            }
            for (long j = 0; j < L; j++) total += a[j] *= en[j];
            for (long j = 0; j < L; j++) a[j] /= total;
            logz[s] += log(total) + shift[n];
        }
        if (starts[s + 1] <= starts[s]) continue;
        double total = 0, ended = 0;
        for (long j = 0; j < L; j++) total += end[j];
        for (long j = 0; j < L; j++) ended += alpha[(starts[s + 1] - 1) * L + j] * end[j], z[j] = end[j] / total;
        logz[s] += log(ended);
        for (long n = starts[s + 1] - 1;; n--) {
            const double *a = alpha + n * L, *en = e + n * L;
            double *u = later + n * L, *pn = p + n * L, both = 0, sum = 0;
            for (long j = 0; j < L; j++) both += pn[j] = a[j] * z[j];
            for (long j = 0; j < L; j++) pn[j] /= both, u[j] = 0;
            if (n == starts[s]) break;
            memset(told, 0, sizeof(double) * L);
            for (long j = 0; j < L; j++) {
                double w = u[j] = en[j] * z[j];
                const double *row = turned + j * L;
                INDEPENDENT
                for (long i = 0; i < L; i++) told[i] += w * row[i];
            }
            both = 0;
            for (long i = 0; i < L; i++) both += a[i - L] * told[i], sum += told[i];
            for (long i = 0; i < L; i++) u[i] /= both, z[i] = told[i] / sum;
        }
    }
    free(z), free(told);
    return failed;
}

/* The best tags of every place, as crf.py's `_viterbi` finds them. */
int NAME(viterbi)(long S, long L, const int64_t *starts, const double *step, const double *start, const double *end,
                  const double *scores, int32_t *tags) {
    long most = 1;
    for (long s = 0; s < S; s++) most = starts[s + 1] - starts[s] > most ? starts[s + 1] - starts[s] : most;
    double *best = malloc(sizeof(double) * L), *next = malloc(sizeof(double) * L);
    int64_t *from = malloc(sizeof(int64_t) * L); /* as wide as what it goes with */
    int32_t *back = malloc(sizeof(int32_t) * L * most);
    int failed = !best || !next || !from || !back;
    for (long s = 0; !failed && s < S; s++) {
        long length = starts[s + 1] - starts[s], chosen = 0;
        for (long t = 0; t < length; t++) {
            const double *score = scores + (starts[s] + t) * L;
            if (!t) {
                for (long j = 0; j < L; j++) best[j] = start[j] + score[j];
                continue;
            }
            for (long j = 0; j < L; j++) next[j] = best[0] + step[j], from[j] = 0;
            for (long i = 1; i < L; i++) {
                double so_far = best[i];
                const double *row = step + i * L;
                INDEPENDENT
                for (long j = 0; j < L; j++) {
                    double sum = so_far + row[j], old = next[j];
                    int64_t larger = sum > old;
                    next[j] = larger ? sum : old;
                    from[j] = larger ? i : from[j];
                }
            }
            for (long j = 0; j < L; j++) best[j] = next[j] + score[j], back[t * L + j] = (int32_t)from[j];
        }
        if (!length) continue;
        for (long j = 0; j < L; j++) best[j] += end[j];
        for (long j = 1; j < L; j++) chosen = best[j] > best[chosen] ? j : chosen;
        for (long t = length - 1; t >= 0; t--) {
            tags[starts[s] + t] = (int32_t)chosen;
            chosen = t ? back[t * L + chosen] : 0;
        }
    }
    free(best), free(next), free(from), free(back);
    return failed;
}

int NAME(adam)(long N, float *restrict w, const float *restrict g, float *restrict m, float *restrict v, float kept,
                float share1, float share2, float rate, float root, float eps) {
    for (long i = 0; i < N; i++) {
        float mi = m[i] + share1 * (g[i] - m[i]), vi = v[i] + share2 * (g[i] * g[i] - v[i]);
        m[i] = mi, v[i] = vi;
        w[i] = w[i] * kept - rate * (mi / (sqrtf(vi) * root + eps));
    }
    return 0;
}

#include "counts.c"

#undef COLUMNS
#undef VECTOR
#undef EXP
#undef SIGMOID
#undef TANH
#undef WAYS
#undef SUM

#endif
