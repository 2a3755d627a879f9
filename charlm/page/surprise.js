// Section 3: a text, coloured by surprise. Colours are highlights over plain text, so that scripts
// keep their shapes, and of those blocks alone that are near what is seen.
page.section("surprise", (root, data) => {
  const { element, unpack } = page, all = (selector) => [...root.querySelectorAll(selector)];
  const [text] = all(".text"), [place] = all(".place"), [select] = all("select"), blocks = [...text.children];
  const starts = running(data.lengths), count = starts.length - 1, firsts = [...data.blocks, count];
  const marks = {}, drawn = new Map();
  const models = data.models.map((packed) => {
    const model = { ...packed, first: running(packed.counts) };
    for (const name of ["bits", "ranks", "own", "best", "chances"]) model[name] = unpack(packed[name]);
    return model;
  });
  text.normalize();
  const nodes = blocks.map((block) => block.firstChild);
  let cursor = -1, mode, model;

  // Where each begins, by how long each is, and where the last of them ends.
  function running(packed) {
    const sums = [0];
    for (const each of unpack(packed)) sums.push(sums[sums.length - 1] + each);
    return sums;
  }

  // The place of the last of rising numbers that is at most a value, before the very last.
  function lastAtMost(numbers, value) {
    let low = 0, high = numbers.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (numbers[middle] <= value) low = middle; else high = middle;
    }
    return low;
  }

  function rangeOf(part, end = part + 1) {
    const block = lastAtMost(firsts, part), before = starts[firsts[block]], range = new Range();
    range.setStart(nodes[block], starts[part] - before);
    range.setEnd(nodes[block], starts[end] - before);
    return range;
  }

  const boxOf = (part) => rangeOf(part).getBoundingClientRect();
  const tokens = (of, part) => of.first[part + 1] - of.first[part];
  const scored = (part) => models.some((of) => tokens(of, part));
  const ofPart = (of, part, name) => of[name].subarray(of.first[part], of.first[part + 1]);
  const bits = (of, part) => ofPart(of, part, "bits").reduce((sum, each) => sum + each, 0) / 100;

  // The name of a part's colour in this mode; none for what was not scored.
  function colour(part) {
    const differs = mode === "difference";
    if (!(differs ? scored(part) : tokens(model, part))) return;
    const value = mode === "rank" ? ofPart(model, part, "ranks").reduce((worst, rank) => Math.max(worst, rank))
      : differs ? bits(models[0], part) - bits(model, part) : bits(model, part);
    return "sd"[+differs] + data.steps[mode].filter((step) => step <= value).length;
  }

  function draw(block) {
    if (drawn.has(block)) return;
    const ranges = [], last = firsts[block + 1];
    for (let part = firsts[block], end; part < last; part = end) {
      const name = colour(part);
      for (end = part + 1; end < last && colour(end) === name;) end++;
      if (name) ranges.push([marks[name], rangeOf(part, end)]);
    }
    for (const [mark, range] of ranges) mark.add(range);
    drawn.set(block, ranges);
  }

  function wipe(block) {
    for (const [mark, range] of drawn.get(block) || []) mark.delete(range);
    drawn.delete(block);
  }

  // The part at a point of the window, or -1. A caret may stand behind the character of the point.
  function partAt({ x, y }) {
    const at = document.caretPositionFromPoint?.(x, y) || document.caretRangeFromPoint?.(x, y);
    const block = at ? nodes.indexOf(at.offsetNode || at.startContainer) : -1;
    if (block < 0) return -1;
    const near = lastAtMost(starts, starts[firsts[block]] + (at.offset ?? at.startOffset));
    const holds = (box) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    return [near, near - 1].find((part) => [...rangeOf(part).getClientRects()].some(holds)) ?? -1;
  }

  // What a model says of a token, and the most likely ones in its place.
  function tell(of, token) {
    const unknown = of.unknown.includes(token) ? " (unknown)" : "", best = element("ol");
    const size = (of.bits[token] / 100).toFixed(2).replace("655.35", "at least 655.35");
    for (let k = 3 * token; k < 3 * token + 3 && k < of.best.length; k++) {
      const share = (of.chances[k] / 100).toFixed(1) + "%", bar = element("span", { class: "bar" });
      bar.style.width = share;
      best.append(element("li", {}, element("bdi", {}, of.names[of.best[k]]), " " + share, bar));
    }
    const name = element("bdi", {}, of.names[of.own[token]]);
    place.append(element("p", {}, name, `${unknown}: ${size} bits, rank ${of.ranks[token]} of ${of.size}. Most likely:`), best);
  }

  // Show a part's figures beside the text; aloud: to those who listen, too.
  function show(part, aloud) {
    if (part < 0 || !scored(part)) return;
    mark("at", part);
    place.replaceChildren();
    for (const of of models) {
      const number = tokens(of, part);
      if (models[1]) place.append(element("h3", {}, of.name));
      if (number !== 1) place.append(element("p", {}, `${number} tokens, ${bits(of, part).toFixed(2)} bits`));
      for (let k = 0; k < number && k < 8; k++) tell(of, of.first[part] + k);
    }
    if (aloud) page.say(place.innerText);
  }

  function mark(name, part) {
    marks[name]?.clear();
    marks[name]?.add(rangeOf(part));
  }

  // Move the cursor to a part, or the next one from there that was scored, and bring it into view.
  function go(part, way = 1) {
    while (part >= 0 && part < count && !scored(part)) part += way;
    if (!(part >= 0 && part < count)) return;
    cursor = part;
    // twice, as what is laid out for the first time may be higher than it was taken for
    for (let time = 0; time < 2; time++) {
      const box = boxOf(part), around = text.getBoundingClientRect();
      if (box.top < around.top || box.bottom > around.bottom) text.scrollTop += box.top - around.top - around.height / 3;
    }
    mark("cursor", part);
    show(part, true);
  }

  function line(way) {
    const { x, y, height } = boxOf(cursor);
    const part = partAt({ x: x + 1, y: y + height * (0.5 + 1.5 * way) });
    go(part < 0 ? cursor + way : part, way);
  }

  function great(part) {
    while (part < count && !/s[45]|d[06]/.test(colour(part))) part++;
    go(part);
  }

  // What a key does; true if it does anything.
  function press(key) {
    const on = cursor >= 0 && /[\u0590-\u08ff]/.test(rangeOf(cursor)) ? -1 : 1;
    const moves = {
      ArrowRight: () => go(cursor + on, on), ArrowLeft: () => go(cursor - on, -on),
      ArrowDown: () => line(1), ArrowUp: () => line(-1), n: () => great(cursor + 1),
    };
    moves[cursor < 0 && moves[key] ? "ArrowRight" : key]?.();
    return moves[key];
  }

  function choose() {
    const [name, number] = select.value.split(" "), seen = [...drawn.keys()];
    mode = name;
    model = models[number];
    all("[data-legend]").forEach((its) => { its.hidden = its.dataset.legend !== mode; });
    seen.forEach(wipe);
    seen.forEach(draw);
  }

  const on = (target, name, act) => target.addEventListener(name, act);
  choose();
  all(".choice, .place").forEach((its) => { its.hidden = false; });
  if (window.Highlight) {
    for (const name of "s0 s1 s2 s3 s4 s5 d0 d1 d2 d3 d4 d5 d6 at cursor".split(" ")) {
      CSS.highlights.set(name, marks[name] = new Highlight());
    }
    marks.at.priority = 1;
    marks.cursor.priority = 2;
    const watch = new IntersectionObserver((changes) => {
      for (const { isIntersecting, target } of changes) (isIntersecting ? draw : wipe)(blocks.indexOf(target));
    }, { root: text, rootMargin: "100% 0px" });
    blocks.forEach((block) => watch.observe(block));
    on(window, "beforeprint", () => blocks.forEach((_, block) => draw(block)));
  } else place.append("This browser cannot colour texts.");
  on(select, "change", choose);
  on(text, "pointermove", (event) => show(partAt(event)));
  on(text, "click", (event) => go(partAt(event)));
  on(text, "keydown", (event) => {
    if (!event.ctrlKey && !event.altKey && !event.metaKey && press(event.key)) event.preventDefault();
  });
  all("button").forEach((button) => on(button, "click", () => press(button.value)));
  all("[data-part]").forEach((link) => on(link, "click", (event) => {
    event.preventDefault();
    text.focus();
    go(+link.dataset.part);
  }));
  all(".strip svg").forEach((strip) => on(strip, "click", ({ x }) => {
    const { left, width } = strip.getBoundingClientRect();
    go(Math.floor((x - left) / width * count));
  }));
});
