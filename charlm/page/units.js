// Units watched: colour the text by one, show many as strips, find those that are high here and low there.
page.section("units", (root, data) => {
  const STRIPS = 12, CELLS = 120;
  const { parts, names, order } = data, element = page.element;
  const values = page.unpack(data.values), read = page.unpack(data.read);
  const middle = page.unpack(data.middle), reach = page.unpack(data.reach), tokens = data.values.shape[1];
  const title = root.querySelector(".watched"), watch = root.querySelector(".watch");
  const marks = { high: new Set(), low: new Set() };
  let track = order[0], cursor = 0, anchor = 0;
  let listed = order.slice(0, STRIPS).map((number) => [number, ""]);

  const level = (number, part) => (read[part] ? values[number * tokens + read[part] - 1] : 0);
  const colour = (number, part) => "d" + (3 + Math.round((level(number, part) * 3) / 127));
  const stretch = () => [Math.min(cursor, anchor), Math.max(cursor, anchor)];

  function paint() {
    const [from, to] = stretch();
    title.textContent = names[track];
    spans.forEach((span, part) => {
      span.className = colour(track, part) + (part >= from && part <= to ? " cursor" : "");
      for (const kind in marks) if (marks[kind].has(part)) span.classList.add(kind);
    });
    strips.replaceChildren(...listed.map(strip));
    number.value = track + 1;
  }

  // A row of the filmstrip: a button with the unit's name, and its values around the cursor.
  function strip([number, difference]) {
    const first = Math.max(0, Math.min(cursor - CELLS / 2, parts.length - CELLS));
    const cells = parts.slice(first, first + CELLS).map((_, k) => element("span",
      { class: colour(number, first + k) + (first + k === cursor ? " cursor" : "") }, "\u2002"));
    const name = button(names[number] + difference, () => choose(number));
    name.setAttribute("aria-pressed", number === track);
    return element("li", null, name, element("div", { class: "strip", "aria-hidden": true }, ...cells));
  }

  function choose(number) {
    track = number;
    paint();
    page.say(names[track]);
  }

  // List the units by their mean over the marked high stretches less that over the low ones.
  function mark(kind) {
    for (let [part, to] = stretch(); part <= to; part++) {
      for (const each in marks) marks[each].delete(part);
      if (kind) marks[kind].add(part);
    }
    const mean = (number, places) => {
      let sum = 0;
      for (const part of places) sum += level(number, part);
      return places.size && (sum * reach[number]) / 127 / places.size;
    };
    if (marks.high.size + marks.low.size) {
      listed = names.map((_, number) => [number, mean(number, marks.high) - mean(number, marks.low)])
        .sort((a, b) => b[1] - a[1]).slice(0, STRIPS).map(([number, value]) => [number, ` (${value.toFixed(2)})`]);
      page.say("First: " + names[listed[0][0]]);
    }
    paint();
  }

  function button(label, action) {
    const made = element("button", { type: "button" }, label);
    made.addEventListener("click", action);
    return made;
  }

  const number = element("input", { type: "number", min: 1, max: names.length });
  number.addEventListener("change", () => choose(Math.max(0, Math.min(names.length, number.value) - 1) | 0));
  const strips = element("ol", { class: "strips" });
  watch.append(element("p", { class: "choice" }, element("label", null, "Unit number ", number),
    button("High here", () => mark("high")), button("Low here", () => mark("low")),
    button("Unmark", () => mark())), strips);
  const spans = page.passage(root.querySelector(".text"), parts,
    "Text coloured by a unit: arrow keys move, with Shift they mark a stretch", (part, longer) => {
      cursor = part;
      if (!longer) anchor = part;
      paint();
      const value = middle[track] + (level(track, part) * reach[track]) / 127;
      page.say(`${parts[part].trim() || "space"}: ${value.toFixed(2)}`);
    });
  for (const named of root.querySelectorAll("[data-track]"))
    named.replaceWith(button(named.textContent, () => choose(+named.dataset.track)));
  watch.hidden = false;
  paint();
});
