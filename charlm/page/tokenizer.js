// Text to ids and back as charlm/text/tokenizers.py does it. parts: [text, id] of all that a text is made of, id -1
// for what is passed over; a character of several bytes stands in its last one.
const SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LETTER = "\\p{L}\\p{N}", MARK = "\\p{M}\\u200c\\u200d\\u{1f3fb}-\\u{1f3ff}";
const RUN = `[${LETTER}][${LETTER}${MARK}]*`, WORD = `${RUN}(?:['’‐‑-]${RUN})*`;
const SYMBOL = `[^${SPACE}][${MARK}]*(?:(?<=\\u200d)[^${LETTER}_${SPACE}][${MARK}]*)*`;
const OPENING = "([{“‘«‹¿¡「『（", CLOSING = ",.;:!?%)]}”’»›…।॥、。，！？；：」』）";

page.tokenizer = ({ tokenizer: kind, tokens, lowercase, punctuation, split, spaced, newline }) => {
  const bytes = kind === "byte", word = kind === "word";
  if (bytes) tokens = Array.from({ length: 256 }, (_, b) =>
    b > 31 && b < 127 ? String.fromCharCode(b) : "\\x" + b.toString(16).padStart(2, "0"));
  const names = ["<eos>", "<unk>", ...tokens], ids = new Map(tokens.map((token, i) => [token, i + 2]));
  const piece = split ? `[^${SPACE}]+` : punctuation ? `${WORD}|${SYMBOL}` : WORD;
  const regex = new RegExp(`<unk>|\\n|${piece}`, "gu");

  function parts(text) {
    if (lowercase) text = (word ? text : text.replace(/Σ/g, "σ")).toLowerCase();
    if (bytes) return Array.from(text).flatMap((c) =>
      [...new TextEncoder().encode(c)].map((b, i, all) => [i + 1 < all.length ? "" : c, b + 2]));
    const part = (token) => [token, ids.get(token) || 1];
    if (!word) return Array.from(text, part);
    const found = [];
    let end = 0;
    for (const { 0: token, index } of (newline ? text : text.replace(/\n/g, " ")).matchAll(regex)) {
      if (index > end) found.push([text.slice(end, index), -1]);
      end = index + token.length;
      found.push(part(token));
    }
    return end < text.length ? [...found, [text.slice(end), -1]] : found;
  }

  // Takes one id after another and returns the text that each adds; after the last, null brings what was held back.
  function decoder() {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true }), quoted = new Set();
    let tight = true, last = "";
    return (id) => {
      if (id === null) return bytes ? utf8.decode() : "";
      if (bytes) return utf8.decode(Uint8Array.of(id - 2), { stream: true });
      const token = names[id];
      if (!word) return token;
      if (token === "\n") {
        quoted.clear();
        tight = true;
        return token;
      }
      let opens = !spaced && OPENING.includes(token);
      let closes = !spaced && (CLOSING.includes(token) || (token === last && "-*=_~#".includes(token)));
      if (!spaced && (token === "'" || token === '"')) {
        closes = quoted.delete(token);
        opens = !closes;
        if (opens) quoted.add(token);
      }
      const text = tight || closes ? token : " " + token;
      [tight, last] = [opens, token];
      return text;
    };
  }
  return { names, parts, decoder };
};
