/* Lookups in the trie of charlm/counts/: lookups.py has the equations, and does the same where this
   is not built. kernel.c includes it once for each instruction set.

   What the trie holds was checked when it was loaded: offsets rise and stay within, suffixes are
   contexts of one token less. What comes with a call is checked here: functions return 2 where an
   index is out of range. */

/* The order of the pointers that table.py hands over. Node i's token and p stand at i - 1. */
typedef struct {
    const int64_t *facts;
    const void *token;
    const float *p, *backoff;
    const int32_t *offset;
    int32_t *suffix;
} NAME(trie);

enum { NAME(vocabulary), NAME(contexts), NAME(token_bytes), NAME(begin) };
#define TRIE NAME(trie)
#define FACT(name) ((long)trie->facts[NAME(name)])
#define TOKEN(node) NAME(token_of)(bytes, token, node)

INLINE long NAME(token_of)(int bytes, const void *token, long node) {
    if (bytes == 1) return ((const uint8_t *)token)[node - 1];
    if (bytes == 2) return ((const uint16_t *)token)[node - 1];
    return ((const int32_t *)token)[node - 1];
}

/* Call a function whose first argument becomes a constant in each of the three. */
#define BY_TOKEN_BYTES(function, ...) \
    (FACT(token_bytes) == 1   ? NAME(function)(1, __VA_ARGS__) \
     : FACT(token_bytes) == 2 ? NAME(function)(2, __VA_ARGS__) \
                              : NAME(function)(4, __VA_ARGS__))

/* The node of low .. high - 1, neighbours that rise, whose token is x; 0 where there is none. */
INLINE long NAME(find)(int bytes, const void *token, long low, long high, long x) {
    while (high - low > 8) {
        long middle = low + (high - low) / 2;
        if (TOKEN(middle) <= x)
            low = middle;
        else
            high = middle;
    }
    for (; low < high; low++)
        if (TOKEN(low) >= x) return TOKEN(low) == x ? low : 0;
    return 0;
}

INLINE long NAME(child)(int bytes, const TRIE *trie, long node, long x) {
    if (!node) return 1 + x;
    return NAME(find)(bytes, trie->token, trie->offset[node], trie->offset[node + 1], x);
}

INLINE int NAME(walk)(int bytes, const TRIE *trie, long T, long B, const int32_t *inputs,
                      const uint8_t *reset, const int32_t *state, int32_t *nodes) {
    long V = FACT(vocabulary), M = FACT(contexts);
    for (long b = 0; b < B; b++)
        if (state[b] < 0 || state[b] >= M) return 2;
    for (long t = 0; t < T; t++) {
        const int32_t *before = t ? nodes + (t - 1) * B : state;
        for (long b = 0; b < B; b++) {
            long x = inputs[t * B + b], node = reset && reset[t * B + b] ? 0 : before[b], after;
            if (x < -1 || x >= V) return 2;
            if (x <= 0) { /* NO_TOKEN or EOS */
                nodes[t * B + b] = (int32_t)FACT(begin);
                continue;
            }
            /* The highest order is no context, and unigrams have none but the root. */
            while ((!(after = NAME(child)(bytes, trie, node, x)) || after >= M) && node)
                node = trie->suffix[node];
            nodes[t * B + b] = after < M ? (int32_t)after : 0;
        }
    }
    return 0;
}

/* Contexts nodes [T, B] after inputs [T, B], from state [B] on; reset [T, B] may be null. */
int NAME(counts_walk)(const TRIE *trie, long T, long B, const int32_t *inputs, const uint8_t *reset,
                      const int32_t *state, int32_t *nodes) {
    return BY_TOKEN_BYTES(walk, trie, T, B, inputs, reset, state, nodes);
}

INLINE int NAME(chances)(int bytes, const TRIE *trie, long N, const int32_t *nodes,
                         const int32_t *targets, double *p) {
    long V = FACT(vocabulary), M = FACT(contexts);
    for (long n = 0; n < N; n++) {
        long node = nodes[n], x = targets[n], child;
        double scale = 1;
        if (node < 0 || node >= M || x < 0 || x >= V) return 2;
        while (!(child = NAME(child)(bytes, trie, node, x)))
            scale *= trie->backoff[node], node = trie->suffix[node];
        p[n] = trie->p[child - 1] * scale;
    }
    return 0;
}

/* p [N] of the targets [N] after contexts [N]. */
int NAME(counts_targets)(const TRIE *trie, long N, const int32_t *nodes, const int32_t *targets,
                         double *p) {
    return BY_TOKEN_BYTES(chances, trie, N, nodes, targets, p);
}

enum { NAME(orders) = 10 }; /* MOST_ORDER of table.py */

INLINE int NAME(rows)(int bytes, const TRIE *trie, long N, const int32_t *nodes,
                      double *restrict p) {
    long V = FACT(vocabulary), M = FACT(contexts);
    const void *token = trie->token;
    for (long n = 0; n < N; n++, p += V) {
        long chain[NAME(orders)], length = 0, node = nodes[n];
        double scales[NAME(orders)], scale = 1;
        if (node < 0 || node >= M) return 2;
        for (; node && length < NAME(orders); node = trie->suffix[node]) {
            chain[length] = node, scales[length++] = scale;
            scale *= trie->backoff[node];
        }
        for (long x = 0; x < V; x++) p[x] = trie->p[x] * scale;
        while (length--) { /* longer contexts over shorter ones */
            const int32_t *range = trie->offset + chain[length];
            for (long child = range[0]; child < range[1]; child++)
                p[TOKEN(child)] = trie->p[child - 1] * scales[length];
        }
    }
    return 0;
}

/* p [N, V] of every token after contexts [N]. */
int NAME(counts_distribution)(const TRIE *trie, long N, const int32_t *nodes, double *p) {
    return BY_TOKEN_BYTES(rows, trie, N, nodes, p);
}

INLINE int NAME(link)(int bytes, const TRIE *trie, double *total, int32_t *missing) {
    long M = FACT(contexts);
    const void *token = trie->token;
    for (long node = 0; node < M; node++) {
        long suffix = trie->suffix[node], end = trie->offset[node + 1];
        long low = trie->offset[suffix], high = trie->offset[suffix + 1];
        double own = 0, of_shorter = 0;
        for (long child = trie->offset[node]; child < end; child++) {
            long x = TOKEN(child), other = 0;
            own += trie->p[child - 1];
            if (node) {
                other = suffix ? NAME(find)(bytes, token, low, high, x) : 1 + x;
                if (!other) return *missing = 1, 0;
                low = other + 1; /* tokens rise */
                of_shorter += trie->p[other - 1];
            }
            if (child < M) trie->suffix[child] = (int32_t)other;
        }
        total[node] = node ? own + trie->backoff[node] * (total[suffix] - of_shorter) : own;
    }
    return 0;
}

/* Fill in suffix [M], which begins as zeros, and the sum of p after each context, total [M], as
   table.py has it; `missing` is told of a suffix that is not there. Contexts are in the order of
   their lengths, so what is needed of shorter ones is known. */
int NAME(counts_link)(const TRIE *trie, double *total, int32_t *missing) {
    return BY_TOKEN_BYTES(link, trie, total, missing);
}

#undef TRIE
#undef FACT
#undef TOKEN
#undef BY_TOKEN_BYTES
