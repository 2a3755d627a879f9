// A text of parts in which a place is chosen by click or arrow keys; chosen(part, longer) is told each time.
page.passage = (text, parts, label, chosen) => {
  const spans = parts.map((part) => page.element("span", null, part));
  let cursor = 0;
  const go = (to, longer) => {
    cursor = Math.max(0, Math.min(parts.length - 1, to));
    chosen(cursor, longer);
    spans[cursor].scrollIntoView({ block: "nearest" });
  };
  text.replaceChildren(page.element("p", null, ...spans));
  for (const [name, value] of [["tabindex", 0], ["role", "group"], ["aria-label", label]]) text.setAttribute(name, value);
  text.addEventListener("click", (event) => {
    const part = spans.indexOf(event.target);
    if (part >= 0) go(part, event.shiftKey);
  });
  text.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -40, ArrowDown: 40 }[event.key];
    if (!by) return;
    event.preventDefault();
    go(cursor + by, event.shiftKey);
  });
  return spans;
};
