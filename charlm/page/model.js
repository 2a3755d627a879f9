// A language model of charlm's: text to ids and back, and what comes next. charlm/nn and charlm/counts have the
// equations; every number here is computed in float64 from the rounded weights of the page.
page.model = (() => {
  const EOS = 0, UNK = 1;
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  // W x + b, four rows at a time, for each x[j] then is fetched once for all; without b, W x.
  function affine(W, x, b) {
    const n = x.length, out = Float64Array.from(b || { length: W.length / n }, (v) => v || 0);
    let i = 0;
    for (; i < out.length - 3; i += 4) {
      const r0 = i * n, r1 = r0 + n, r2 = r1 + n, r3 = r2 + n;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let j = 0; j < n; j++) {
        const v = x[j];
        s0 += W[r0 + j] * v;
        s1 += W[r1 + j] * v;
        s2 += W[r2 + j] * v;
        s3 += W[r3 + j] * v;
      }
      [s0, s1, s2, s3].forEach((s, k) => (out[i + k] += s));
    }
    for (; i < out.length; i++) for (let j = 0; j < n; j++) out[i] += W[i * n + j] * x[j];
    return out;
  }

  // Ba et al. 2016, of all gates together.
  function normed(a, gain, b) {
    const mean = a.reduce((s, v) => s + v, 0) / a.length;
    const scale = 1 / Math.sqrt(a.reduce((s, v) => s + (v - mean) ** 2, 0) / a.length + 1e-5);
    return a.map((v, i) => gain[i] * (v - mean) * scale + b[i]);
  }

  // The value of unit j after a step, given z = W_ih x + b_ih and p = W_hh h + b_hh; c becomes the cell's.
  function cellOf({ cell, nonlinearity, hidden: H }) {
    const mix = (u, n, h) => n + u * (h - n);
    if (cell === "rnn") {
      const act = nonlinearity === "relu" ? (x) => Math.max(0, x) : Math.tanh;
      return (z, p, j) => act(z[j] + p[j]);
    }
    if (cell === "simple-gru")
      return (z, p, j, h) => mix(sigmoid(z[j] + p[j]), Math.tanh(z[j + H] + p[j + H]), h);
    if (cell === "gru")
      return (z, p, j, h) => {
        const n = Math.tanh(z[j + 2 * H] + sigmoid(z[j] + p[j]) * p[j + 2 * H]);
        return mix(sigmoid(z[j + H] + p[j + H]), n, h);
      };
    return (z, p, j, h, c, [ci, cf, co]) => {
      const arg = (gate, w) => z[j + gate * H] + p[j + gate * H] + (w ? w[j] * c[j] : 0);
      c[j] = sigmoid(arg(1, cf)) * c[j] + sigmoid(arg(0, ci)) * Math.tanh(arg(2));
      return sigmoid(arg(3, co)) * Math.tanh(c[j]);
    };
  }

  function network(config, packed) {
    const w = {}, { layers, hidden: H } = config, cell = cellOf(config);
    for (const name in packed) {
      const { scale, ...rest } = packed[name], array = page.unpack(rest);
      const row = array.length / rest.shape[0], by = scale && page.unpack(scale);
      w[name] = by ? new Float32Array(array.length).map((_, i) => array[i] * by[Math.floor(i / row)]) : array;
    }
    function first(id) {
      const b = w["rnn.bias_ih_l0"], W = w["rnn.weight_ih_l0"], E = w["embed.weight"], n = config.embedding;
      if (id < 0) return b;
      if (n) return affine(W, Float64Array.from(E.subarray(id * n, id * n + n)), b);
      return Float64Array.from(b, (v, i) => v + W[i * (W.length / b.length) + id]);
    }
    function step(before, id) {
      const after = [];
      let y;
      for (let k = 0; k < layers; k++) {
        const of = (part) => w[`rnn.${part}_l${k}`], gain = of("gain_hh"), b = of("bias_hh");
        const z = k ? affine(of("weight_ih"), y, of("bias_ih")) : first(id);
        const { h, c } = before ? before[k] : { h: new Float64Array(H), c: new Float64Array(H) };
        const p = gain ? normed(affine(of("weight_hh"), h), gain, b) : affine(of("weight_hh"), h, b);
        const see = ["weight_ci", "weight_cf", "weight_co"].map(of), cells = c.slice();
        const next = h.map((v, j) => cell(z, p, j, v, cells, see));
        after.push({ h: next, c: cells });
        y = config.residual && k ? y.map((v, j) => v + next[j]) : next;
      }
      return after;
    }
    function logits(state) {
      let y = state[layers - 1].h;
      if (config.residual) y = y.map((_, j) => state.reduce((s, { h }) => s + h[j], 0));
      for (let k = 0; k < config.head_layers; k++)
        y = affine(w[`dense.${k}.weight`], y, w[`dense.${k}.bias`]).map((v) => Math.max(0, v));
      return affine(w[config.tie ? "embed.weight" : "head.weight"], y, w["head.bias"]);
    }
    return { step, logits };
  }

  // A trie in level order; node 0 is the empty context.
  function trie({ order, begin, ...packed }, V) {
    const { token, p, children, backoff } = Object.fromEntries(
      Object.entries(packed).map(([name, array]) => [name, page.unpack(array)]));
    const M = children.length, from = new Int32Array(M + 1).fill(1), suffix = new Int32Array(M);
    children.forEach((n, s) => (from[s + 1] = from[s] + n));
    function child(s, x) {
      if (!s) return 1 + x;
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
      for (;;) {
        const c = child(s, x);
        if (c && c < M) return c;
        if (!s) return 0;
        s = suffix[s];
      }
    }
    function chances(s) {
      const chain = [];
      let scale = 1;
      for (; s; s = suffix[s]) {
        chain.push([s, scale]);
        scale *= backoff[s];
      }
      const out = Float64Array.from(p.subarray(0, V), (v) => v * scale);
      for (const [node, by] of chain.reverse())
        for (let c = from[node]; c < from[node + 1]; c++) out[token[c - 1]] = p[c - 1] * by;
      return out;
    }
    return { step, chances };
  }

  // The state: that of the layers, the tables of counts that have a say (all texts', then the label's own), and where
  // each stands.
  return (data) => {
    const net = data.config.layers ? network(data.config, data.weights) : null, { share } = data;
    const tables = data.counts.map((table) => trie(table, data.size)), weight = net ? data.weight : 1;
    const after = ({ layers, say, nodes }, id) =>
      ({ layers: net && net.step(layers, id), say, nodes: say.map((table, k) => table.step(nodes[k], id)) });
    function counted({ say, nodes }) {
      const [every, own] = say.map((table, k) => table.chances(nodes[k]));
      return own ? every.map((p, i) => (1 - share) * p + share * own[i]) : every;
    }
    function logp(state) {
      const q = weight && counted(state);
      if (!net) return q.map(Math.log);
      const x = net.logits(state.layers), most = x.reduce((a, b) => Math.max(a, b));
      const total = most + Math.log(x.reduce((s, v) => s + Math.exp(v - most), 0));
      return x.map((v, i) => (q ? Math.log((1 - weight) * Math.exp(v - total) + weight * q[i]) : v - total));
    }
    function begin(label) {
      const say = [tables[0], tables[1 + label]].filter(Boolean);
      return after({ say, nodes: [0, 0] }, label === undefined ? data.first : data.size + label);
    }
    return { begin, after, logp, ...page.tokenizer(data.text) };
  };
})();
