// What is drawn of what may come next, and texts put together for the eye.
// Numbers of [0, 1) that a seed decides: mulberry32.
page.chances = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
page.blank = (text) => !/[^\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/.test(text);
page.best = (logp, may) => Array.from(logp.keys()).filter(may).sort((a, b) => logp[b] - logp[a]);

// One of the tokens that may come, after temperature, top-k and top-p in this order.
page.draw = (logp, may, temperature, topK, topP, random) => {
  const ids = page.best(logp, may).slice(0, temperature ? topK || logp.length : 1);
  const p = ids.map((id) => Math.exp((logp[id] - logp[ids[0]]) / (temperature || 1)));
  const most = (topP || 1) * p.reduce((a, b) => a + b, 0);
  let kept = 0, sum = 0, k = 0;
  while (kept < p.length && sum < most) sum += p[kept++];
  let left = random() * sum - p[0];
  while (left >= 0 && k < kept - 1) left -= p[++k];
  return ids[k];
};

// Pieces of a text, [text, value or null], put together so that none splits a grapheme cluster; values are summed.
page.whole = (pieces) => {
  const text = pieces.map(([piece]) => piece).join(""), ends = new Set([text.length]), found = [];
  for (const { index } of new Intl.Segmenter().segment(text)) ends.add(index);
  let end = 0, now = ["", null];
  for (const [piece, value] of pieces) {
    end += piece.length;
    now = [now[0] + piece, value === null ? now[1] : now[1] + value];
    if (!now[0] || !ends.has(end)) continue;
    found.push(now);
    now = ["", null];
  }
  return found;
};
