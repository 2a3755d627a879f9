// What all parts of the page share. Each other file is a block of the same function: what one offers
// another it sets on `page`. No string may run over a line, for indents are taken away.
const DTYPES = {
  f4: Float32Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
};

// The value of every float16 by its bits, but for infinity and NaN, which data.py refuses.
let halves;
function halfTable() {
  return new Float32Array(65536).map((_, bits) => {
    const exponent = (bits >> 10) & 31, fraction = (bits & 1023) + (exponent && 1024);
    return (bits & 0x8000 ? -1 : 1) * fraction * 2 ** ((exponent || 1) - 25);
  });
}

const page = {
  // Call start(root, data) once, with the section and its data, where the page has both.
  section(name, start) {
    const root = document.getElementById(name), block = document.getElementById("data-" + name);
    if (!root || !block) return;
    try {
      start(root, JSON.parse(block.textContent));
    } catch (error) {
      console.error(error);
      root.append(page.element("p", { class: "failed" },
        "Here this section does not move (" + error.message + "). What you see stands."));
    }
  },

  // An array packed by data.py: float16 becomes Float32Array, the others are what they were.
  unpack(packed) {
    const text = atob(packed.base64), bytes = new Uint8Array(text.length);
    // a loop, as Uint8Array.from(text, ...) takes a second for 4 MB
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    if (packed.dtype !== "f2") return new DTYPES[packed.dtype](bytes.buffer);
    halves = halves || halfTable();
    return Float32Array.from(new Uint16Array(bytes.buffer), (bits) => halves[bits]);
  },

  // A new element: children are texts or nodes.
  element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value != null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  },

  // Tell those who listen to the page rather than look at it.
  say(text) {
    document.getElementById("say").textContent = text;
  },

  start() {
    for (const text of document.querySelectorAll("[data-copy]")) copyable(text);
  },
};

// Give a text a button that copies it; where the browser forbids that, the text is selected instead.
function copyable(text) {
  const button = page.element("button", { type: "button" }, "Copy");
  const done = (word) => { button.textContent = word; page.say(word); };
  button.addEventListener("click", () => {
    const select = () => { getSelection().selectAllChildren(text); done("Selected: copy it"); };
    if (navigator.clipboard) navigator.clipboard.writeText(text.textContent).then(() => done("Copied"), select);
    else select();
  });
  text.after(button);
}
