// Section "write": what was typed is read as it is typed, and the model goes on from it, both in slices of time.
const SLICE = 12; // milliseconds
const STEPS = [0.5, 1, 2, 4, 8]; // bits at which a character is more surprising; a word costs twice as much
const blank = (text) => !/[^\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/.test(text);
const clear = (name) => name.replace(/ /g, "␣").replace(/\n/g, "↵");

page.section("write", (root, data) => {
  const model = page.model(data), form = root.querySelector("form"), field = form.elements, make = page.element;
  const at = (name) => root.querySelector("." + name), number = (name) => parseFloat(field[name].value) || 0;
  const words = data.text.tokenizer === "word", newline = (model.parts("\n")[0] || [])[1], prompt = field.prompt;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let parts = [], ids = [], states = [], scores = [], timer = 0, then = null;

  // Read on from where the text differs from what was read, and show what there is to see.
  function read() {
    const end = performance.now() + SLICE;
    while (states.length <= ids.length && performance.now() < end) {
      const last = states[states.length - 1], id = ids[states.length - 1];
      scores[states.length - 1] = model.logp(last)[id];
      states.push(model.after(last, id));
    }
    if (states.length <= ids.length) return void (timer = setTimeout(read));
    show(model.logp(states[ids.length]));
    if (then) then();
  }
  function typed() {
    clearTimeout(timer);
    then = null;
    parts = model.parts(prompt.value);
    const now = parts.map(([, id]) => id).filter((id) => id >= 0);
    let same = 0;
    while (same < now.length && now[same] === ids[same]) same++;
    ids = now;
    states.length = Math.min(states.length, same + 1);
    timer = setTimeout(read);
  }
  function begin() {
    states = [model.begin(field.label && field.label.selectedIndex)];
    typed();
  }
  function show(logp) {
    let k = 0;
    const pieces = page.whole(parts.map(([text, id]) => [text, id < 0 ? null : -scores[k++] / Math.LN2]));
    at("typed").replaceChildren(...pieces.map(([text, bits]) => bits === null ? text : make("span",
      { class: "m" + STEPS.filter((step) => bits >= step * (words ? 2 : 1)).length, title: bits.toFixed(2) + " bits" }, text)));
    const scored = scores.slice(0, ids.length).concat(data.end ? logp[0] : []), nats = scored.reduce((a, b) => a + b, 0);
    at("score").textContent = !ids.length ? "Type, and each piece shows how much it surprises the model." : `log-probability ${nats.toFixed(4)} nats, ` +
      `${(-nats / Math.LN2 / (scored.length || 1)).toFixed(3)} bits a token`;
    at("next").tBodies[0].replaceChildren(...page.best(logp, () => true).slice(0, 8).map((id) => {
      const share = (100 * Math.exp(logp[id])).toFixed(1) + " %", bar = make("div", { class: "bar" });
      bar.style.width = share.replace(" ", "");
      return make("tr", {}, make("th", { scope: "row" }, make("bdi", {}, id ? clear(model.names[id]) : "end of text")),
        make("td", {}, share), make("td", { "aria-hidden": "true" }, bar));
    }));
  }
  function write() {
    const seed = field.seed.value ? number("seed") : Math.floor(Math.random() * 1e6), random = page.chances(seed);
    const decode = model.decoder(), out = document.createTextNode(prompt.value), wanted = number("most");
    let state = states[ids.length], text = prompt.value, why = "", tokens = 0;
    for (const id of [...ids, null]) decode(id);
    at("written").replaceChildren(out);
    function next() {
      const end = performance.now() + SLICE;
      do {
        const empty = data.sequences === "document" && !ids.length && !tokens;
        const line = data.sequences === "paragraph" && blank(text.slice(text.lastIndexOf("\n") + 1));
        const may = (id) => id !== 1 && !(!id && empty) && !(line && (!id || id === newline));
        const id = page.draw(model.logp(state), may, number("temperature"), number("top-k"), number("top-p"), random);
        if (!id) why = "the end of the text";
        else {
          [state, text, tokens] = [model.after(state, id), text + decode(id), tokens + 1];
          const cut = field.stop.value ? text.indexOf(field.stop.value, prompt.value.length) : -1;
          if (cut >= 0) [text, why] = [text.slice(0, cut), "the text to stop at"];
          else if (tokens >= wanted) why = "the length";
        }
      } while (still && !why && performance.now() < end);
      if (!still || why) out.data = text;
      if (why) done(`Ended by ${why}: ${tokens} tokens, seed ${seed}.`);
      else timer = setTimeout(next, still ? 0 : words ? 80 : 20);
    }
    next();
  }
  function done(what) {
    clearTimeout(timer);
    page.say(at("why").textContent = what);
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    typed();
    then = write;
  });
  at("stop").addEventListener("click", () => done("Stopped."));
  prompt.addEventListener("input", typed);
  if (field.label) field.label.addEventListener("input", begin);
  at("desk").hidden = false;
  begin();
});
