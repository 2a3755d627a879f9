// What moved one token: choose it, and what was read before it is coloured by what it is worth.
page.section("memory", (root, data) => {
  const { parts, names } = data;
  const read = page.unpack(data.read), worth = page.unpack(data.worth), age = page.unpack(data.age);
  const logprob = page.unpack(data.logprob), back = data.worth.shape[1];
  const text = root.querySelector(".text"), title = root.querySelector(".watched");
  let chosen = data.chosen;

  function paint() {
    // of the token read k + 1 steps before, at k
    const own = worth.subarray(chosen * back, chosen * back + age[chosen]);
    const best = Array.from(own.keys()).sort((a, b) => Math.abs(own[b]) - Math.abs(own[a])).slice(0, 5);
    const most = Math.abs(own[best[0]]) || 1;
    spans.forEach((span, part) => {
      const ago = chosen - read[part];
      const value = read[part] && ago >= 0 && ago < own.length ? own[ago] : 0;
      span.className = "d" + (3 + Math.round((3 * value) / most)) + (ago === -1 ? " cursor" : "");
    });
    title.textContent = `${names[chosen]}, log-probability ${logprob[chosen].toFixed(2)} nats` +
      best.map((k) => `; ${names[chosen - 1 - k]} ${k + 1} back ${own[k].toFixed(2)}`).join("");
  }

  const spans = page.passage(text, parts, "Text: choose the token to be explained by click or arrow keys", (part) => {
    chosen = Math.max(0, read[part] - 1);
    paint();
    page.say(title.textContent);
  });
  root.querySelector(".note[hidden]").hidden = false;
  paint();
  text.scrollTop = root.querySelector(".cursor").offsetTop - text.offsetTop - 200;
});
