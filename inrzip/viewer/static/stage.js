// What all kinds of signals have on the page: a field, a bar of controls, messages.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick" || key === "oninput" || key === "onchange") made[key] = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const COMPARISONS = ["decoded", "original", "side", "wipe", "error"];
const NAMES = { decoded: "Decoded", original: "Original", side: "Side by side", wipe: "Wipe", error: "Error map" };

export class Stage {
  // root: an element to fill; signal: what the server says of it, with its number; shared: see main.js
  constructor(root, signal, shared) {
    Object.assign(this, { root, signal, shared });
    this.field = root.appendChild(element("div", { class: "field" }));
    this.bar = root.appendChild(element("div", { class: "bar", role: "toolbar" }));
  }
  destroy() {}
  key() { return false; }
  setMode(mode) { this.mode = mode; }

  button(text, title, act) { return this.bar.appendChild(element("button", { title, onclick: act }, text)); }

  // A choice of ways to compare, if there is something to compare with.
  comparison(names = COMPARISONS) {
    if (!this.signal.original) return;
    this.modes = names;
    this.select = this.bar.appendChild(element("select", { title: `Compare with ${this.signal.original} (c)`, "aria-label": "Compare",
      onchange: () => this.shared.setMode(this.select.value) }));
    for (const name of names) this.select.append(element("option", { value: name }, NAMES[name]));
    this.apply(this.shared.mode);
  }
  apply(mode) { // of the page; a stage without it shows what is decoded
    const known = this.modes?.includes(mode) ? mode : "decoded";
    if (this.select) this.select.value = known;
    this.setMode(known);
  }

  zoomButtons(view) {
    this.button("−", "Zoom out (-)", () => view.step(-1));
    this.button("+", "Zoom in (+)", () => view.step(1));
    this.button("Fit", "All of it (z)", () => view.all());
    this.button("1:1", "A pixel for a sample", () => view.zoomAt(1 / view.zoom()));
  }

  // A mark of what is under way.
  waiting(so) {
    if (!this.turning?.isConnected) this.turning = this.field.appendChild(element("div", { class: "busy" }));
    this.turning.hidden = !so;
  }

  // An error to show over the picture, or null.
  report(error) {
    if (!error) { this.notice?.remove(); this.notice = null; return; }
    if (error.name === "AbortError") return;
    this.notice ??= this.field.appendChild(element("div", { class: "notice", role: "alert" }));
    this.notice.textContent = error.message;
  }
}

export function clock(seconds) {
  const minutes = Math.floor(seconds / 60), rest = (seconds - 60 * minutes).toFixed(2).padStart(5, "0");
  return `${minutes}:${rest}`;
}
