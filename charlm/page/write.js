// Section "write": what was typed is read as it is typed, and the model goes on from it, both in slices of time.
const SLICE = 12; // milliseconds
const STEPS = [0.5, 1, 2, 4, 8]; // bits at which a character is more surprising; a word costs twice as much
const clear = (name) => name.replace(/ /g, "␣").replace(/\n/g, "↵");

page.section("write", (root, data) => {
  const model = page.model(data), field = root.querySelector("form").elements, make = page.element;
  const at = (name) => root.querySelector("." + name), number = (name) => parseFloat(field[name].value) || 0;
  const words = data.text.tokenizer === "word" ? 2 : 1, { prompt, label } = field, newline = (model.parts("\n")[0] || [])[1];
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let parts = [], ids = [], states = [], scores = [], timer = 0, then = null;

  function later(next, pause) {
    clearTimeout(timer);
    timer = setTimeout(next, pause);
  }
  // Read on from where the text differs from what was read, and show what there is to see.
  function read() {
    const end = performance.now() + SLICE;
    while (states.length <= ids.length) {
      if (performance.now() > end) return later(read);
      const k = states.length - 1;
      scores[k] = model.logp(states[k])[ids[k]];
      states.push(model.after(states[k], ids[k]));
    }
    show(model.logp(states[ids.length]));
    if (then) then();
  }
  function typed(next) {
    then = next;
    parts = model.parts(prompt.value);
    const before = ids;
    ids = parts.map(([, id]) => id).filter((id) => id >= 0);
    const same = ids.findIndex((id, k) => id !== before[k]);
    states.length = Math.min(states.length, 1 + (same < 0 ? ids.length : same));
    later(read);
  }
  function begin() {
    states = [model.begin(label && label.selectedIndex)];
    typed();
  }
  function show(logp) {
    let k = 0;
    const pieces = page.whole(parts.map(([text, id]) => [text, id < 0 ? null : -scores[k++] / Math.LN2]));
    at("typed").replaceChildren(...pieces.map(([text, bits]) => bits === null ? text : make("span",
      { class: "s" + STEPS.filter((step) => bits >= step * words).length, title: bits.toFixed(2) + " bits" }, text)));
    const scored = scores.slice(0, k).concat(data.end ? logp[0] : []), nats = scored.reduce((a, b) => a + b, 0);
    at("score").textContent = k ? `log-probability ${nats.toFixed(4)} nats, ` +
      `${(-nats / Math.LN2 / scored.length).toFixed(3)} bits a token` : "Type, and each piece shows how much it surprises the model.";
    at("next").tBodies[0].replaceChildren(...page.best(logp, () => true).slice(0, 8).map((id) => {
      const share = (100 * Math.exp(logp[id])).toFixed(1), bar = make("div", { class: "bar" });
      bar.style.width = share + "%";
      return make("tr", {}, make("th", { scope: "row" }, make("bdi", {}, id ? clear(model.names[id]) : "end of text")),
        make("td", {}, share + " %"), make("td", { "aria-hidden": "true" }, bar));
    }));
  }
  function write() {
    const start = prompt.value, seed = field.seed.value ? number("seed") : Math.floor(Math.random() * 1e6);
    const decode = model.decoder(), random = page.chances(seed), stop = field.stop.value;
    let state = states[ids.length], text = start, tokens = 0, why;
    [...ids, null].forEach(decode);
    function next() {
      const end = performance.now() + SLICE;
      do {
        const empty = data.sequences === "document" && !ids.length && !tokens;
        const line = data.sequences === "paragraph" && page.blank(text.slice(text.lastIndexOf("\n") + 1));
        const may = (id) => id !== 1 && !(!id && empty) && !(line && (!id || id === newline));
        const id = page.draw(model.logp(state), may, number("temperature"), number("top-k"), number("top-p"), random);
        if (!id) why = "the end of the text";
        else {
          [state, text, tokens] = [model.after(state, id), text + decode(id), tokens + 1];
          const cut = stop ? text.indexOf(stop, start.length) : -1;
          if (cut >= 0) [text, why] = [text.slice(0, cut), "the text to stop at"];
          else if (tokens >= number("most")) why = "the length";
        }
      } while (still && !why && performance.now() < end);
      if (!still || why) at("written").textContent = text;
      if (why) done(`Ended by ${why}: ${tokens} tokens, seed ${seed}.`);
      else later(next, still ? 0 : words * words * 20);
    }
    next();
  }
  function done(what) {
    clearTimeout(timer);
    page.say(at("why").textContent = what);
  }
  root.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    typed(write);
  });
  at("stop").addEventListener("click", () => done("Stopped."));
  prompt.addEventListener("input", () => typed());
  if (label) label.addEventListener("input", begin);
  at("desk").hidden = false;
  begin();
});
