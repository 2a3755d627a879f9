// A language model of charlm's: what comes next, and the state after each token. charlm/nn and charlm/counts have the
// equations; here all is computed in float64.
const sigmoid = (x) => 1 / (1 + Math.exp(-x)), zeros = (n) => new Float64Array(n);

// W x + b; without b, W x.
function affine(W, x, b) {
  const n = x.length, out = zeros(W.length / n);
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = b ? b[i] : 0;
    for (let j = 0; j < n; j++) sum += W[at++] * x[j];
    out[i] = sum;
  }
  return out;
}

// Layer normalisation (Ba et al. 2016), of all gates together.
function normed(a, gain, b) {
  const mean = (values) => values.reduce((s, v) => s + v, 0) / a.length, middle = mean(a);
  const scale = 1 / Math.sqrt(mean(a.map((v) => (v - middle) ** 2)) + 1e-5);
  return a.map((v, i) => gain[i] * (v - middle) * scale + b[i]);
}

// The value of unit j after a step, given z = W_ih x + b_ih, p = W_hh h + b_hh, and the unit's h; c becomes the cell's.
function cellOf({ cell, nonlinearity, hidden: H }) {
  const mix = (u, n, h) => n + u * (h - n);
  return {
    rnn: (z, p, j) => nonlinearity === "relu" ? Math.max(0, z[j] + p[j]) : Math.tanh(z[j] + p[j]),
    "simple-gru": (z, p, j, h) => mix(sigmoid(z[j] + p[j]), Math.tanh(z[j + H] + p[j + H]), h),
    gru(z, p, j, h) {
      const n = Math.tanh(z[j + 2 * H] + sigmoid(z[j] + p[j]) * p[j + 2 * H]);
      return mix(sigmoid(z[j + H] + p[j + H]), n, h);
    },
  }[cell] || ((z, p, j, h, c, [ci, cf, co]) => {
    const arg = (gate, w) => z[j + gate * H] + p[j + gate * H] + (w ? w[j] * c[j] : 0);
    c[j] = sigmoid(arg(1, cf)) * c[j] + sigmoid(arg(0, ci)) * Math.tanh(arg(2));
    return sigmoid(arg(3, co)) * Math.tanh(c[j]);
  });
}

function network(config, packed) {
  const w = {}, { layers, hidden: H, embedding: D } = config, cell = cellOf(config);
  for (const name in packed) {
    const array = page.unpack(packed[name]), { scale, shape } = packed[name];
    const by = scale && page.unpack(scale), row = array.length / shape[0];
    w[name] = by ? new Float32Array(array.length).map((_, i) => array[i] * by[Math.floor(i / row)]) : array;
  }
  // W x + b of layer 0, of an embedding, a token by itself, or nothing.
  function first(id, W, b) {
    if (id < 0) return b;
    if (D) return affine(W, Float64Array.from(w["embed.weight"].subarray(id * D, id * D + D)), b);
    return Float64Array.from(b, (v, i) => v + W[i * (W.length / b.length) + id]);
  }
  function step(before, id) {
    const after = [];
    let y;
    for (let k = 0; k < layers; k++) {
      const of = (part) => w[`rnn.${part}_l${k}`], { h, c } = before ? before[k] : { h: zeros(H), c: zeros(H) };
      const [W, gain, b] = ["weight_hh", "gain_hh", "bias_hh"].map(of), cells = c.slice();
      const z = (k ? affine : first)(...(k ? [of("weight_ih"), y] : [id, of("weight_ih")]), of("bias_ih"));
      const p = gain ? normed(affine(W, h), gain, b) : affine(W, h, b);
      const see = ["weight_ci", "weight_cf", "weight_co"].map(of);
      const next = h.map((v, j) => cell(z, p, j, v, cells, see));
      y = config.residual && k ? y.map((v, j) => v + next[j]) : next;
      after.push({ h: next, c: cells, y });
    }
    return after;
  }
  function logits(state) {
    let { y } = state[layers - 1];
    for (let k = 0; k < config.head_layers; k++)
      y = affine(w[`dense.${k}.weight`], y, w[`dense.${k}.bias`]).map((v) => Math.max(0, v));
    return affine(w[config.tie ? "embed.weight" : "head.weight"], y, w["head.bias"]);
  }
  return { step, logits };
}

// A table of n-grams: a trie in level order; node 0 is the empty context, the children of which are all V tokens.
function trie({ order, begin, ...packed }, V) {
  const [token, p, children, backoff] = ["token", "p", "children", "backoff"].map((name) => page.unpack(packed[name]));
  const M = children.length, from = new Int32Array(M + 1).fill(1), suffix = new Int32Array(M);
  children.forEach((n, s) => (from[s + 1] = from[s] + n));
  function child(s, x) {
    let low = from[s], high = from[s + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (token[middle - 1] < x) low = middle + 1;
      else high = middle;
    }
    return low < from[s + 1] && token[low - 1] === x ? low : 0;
  }
  for (let s = 1; s < M; s++)
    for (let c = from[s]; c < from[s + 1] && c < M; c++) suffix[c] = child(suffix[s], token[c - 1]);
  function step(s, x) {
    if (x <= 0 || x >= V) return begin === null || order === 1 ? 0 : 1 + begin;
    const c = child(s, x);
    return c && c < M ? c : s && step(suffix[s], x);
  }
  // p of every token: what shorter contexts say, and over it what is listed here.
  function chances(s, scale = 1) {
    const out = s ? chances(suffix[s], scale * backoff[s]) : zeros(V);
    for (let c = from[s]; c < from[s + 1]; c++) out[token[c - 1]] = p[c - 1] * scale;
    return out;
  }
  return { step, chances };
}

// The state: that of the layers, the tables of counts that have a say (all texts', then the label's own), and where
// each stands.
page.model = (data) => {
  const net = data.config.layers && network(data.config, data.weights), { share, size } = data;
  const tables = data.counts.map((table) => trie(table, size)), weight = net ? data.weight : 1;
  const after = ({ layers, say, nodes }, id) =>
    ({ layers: net && net.step(layers, id), say, nodes: say.map((table, k) => table.step(nodes[k], id)) });
  function logp({ layers, say, nodes }) {
    const [every, own] = say.map((table, k) => table.chances(nodes[k]));
    const q = own ? every.map((p, i) => (1 - share) * p + share * own[i]) : every;
    if (!net) return q.map(Math.log);
    const x = net.logits(layers), most = x.reduce((a, b) => Math.max(a, b));
    const total = most + Math.log(x.reduce((s, v) => s + Math.exp(v - most), 0));
    return x.map((v, i) => weight ? Math.log((1 - weight) * Math.exp(v - total) + weight * q[i]) : v - total);
  }
  function begin(label) {
    const say = [tables[0], tables[1 + label]].filter(Boolean);
    return after({ say, nodes: [0, 0] }, label === undefined ? data.first : size + label);
  }
  return { begin, after, logp, ...page.tokenizer(data.text) };
};
