// The page of `inrzip view`.

import { askFacts, signals as askSignals } from "./ask.js";
import { Audio } from "./audio.js";
import { Look } from "./plane.js";
import { Picture } from "./picture.js";
import { Shape } from "./shape.js";
import { COMPARISONS, element, Stage } from "./stage.js";
import { Video } from "./video.js";
import { Volume } from "./volume.js";

const $ = (id) => document.getElementById(id);

// What signals have in common while they are looked at, so that they can be compared at the same place.
const shared = {
  look: new Look(), time: 0, mode: "decoded", camera: null,
  setMode(mode) {
    shared.mode = mode;
    for (const stage of stages) stage.apply?.(mode);
  },
  setTime(time, from) {
    shared.time = time;
    for (const stage of stages) if (stage !== from && stage.transport && !stage.transport.playing) stage.transport.go(time, true);
  },
};

let all = [], active = 0, grid = false, stages = [];

class Broken extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    this.bar.remove(); this.field.remove();
    root.append(element("p", { class: "error", role: "alert" }, element("b", {}, `${signal.name} cannot be shown`), signal.error));
  }
}

function kindOf(signal) {
  if (!signal.kind) return Broken;
  if (signal.kind === "volume") return [null, Audio, Picture, Volume, Volume][signal.shape.length] ?? Broken;
  return { image: Picture, video: Video, audio: Audio, shape: Shape }[signal.kind];
}

function build() {
  for (const stage of stages) stage.destroy();
  $("stages").replaceChildren();
  $("stages").className = grid ? "grid" : "";
  stages = [];
  for (const signal of grid ? all : [all[active]]) {
    const root = element("div", { class: "stage" }, element("h2", {}, signal.name));
    root.addEventListener("pointerdown", () => choose(signal.number, false), true);
    $("stages").append(root);
    const stage = new (kindOf(signal))(root, signal, shared);
    stage.root = root; stage.number = signal.number;
    stages.push(stage);
  }
  mark();
}

function mark() {
  for (const [i, tab] of [...$("tabs").children].entries()) {
    tab.setAttribute("aria-selected", i === active);
    tab.tabIndex = i === active ? 0 : -1;
  }
  for (const stage of stages) stage.root.classList.toggle("active", stage.number === active);
  document.title = `${all[active].name} – inrzip`;
  facts(all[active]);
  window.stage = current();
}

const current = () => stages.find((stage) => stage.number === active) ?? stages[0];

function choose(number, again = true) {
  if (number === active && !(again && !stages.length)) return;
  active = number;
  if (grid) mark();
  else build();
}

// ---- facts ----

const size = (bytes) => (bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toPrecision(3)} kB` : `${(bytes / 1e6).toPrecision(3)} MB`);
const PATIENCE = 3000; // milliseconds that facts wait for the first picture
const LARGE = ["bytes", "bpp", "smaller_than_raw"];

function worth(key, value) {
  if (Array.isArray(value)) return value.map((v) => worth("", v)).join(key === "shape" ? " × " : ", ");
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(4);
  return String(value);
}

// What `inrzip info` says, once there is something to see.
async function askAbout(signal) {
  signal.facts = {};
  const end = performance.now() + PATIENCE;
  while (!performance.getEntriesByName("first picture").length && performance.now() < end) await new Promise((done) => setTimeout(done, 50));
  try { signal.facts = await askFacts(signal.number, "facts"); } catch (error) { signal.error = error.message; }
  if (all[active] === signal) facts(signal);
}

function facts(signal) {
  if (!signal.facts && signal.kind) askAbout(signal);
  const about = signal.facts ?? {}, large = element("div", { class: "big" });
  const add = (text, unit) => large.append(element("div", {}, text, element("small", {}, unit)));
  if (about.bytes !== undefined) add(size(about.bytes), "file");
  if (about.bpp !== undefined) add(about.bpp.toPrecision(3), ["image", "video"].includes(signal.kind) ? "bits / pixel" : "bits / sample");
  if (about.smaller_than_raw !== undefined) add(`${about.smaller_than_raw.toPrecision(3)}×`, "smaller than raw");
  const list = element("dl");
  for (const [key, value] of Object.entries(about)) {
    if (LARGE.includes(key) && key !== "bytes") continue;
    list.append(element("dt", {}, key.replaceAll("_", " ")), element("dd", {}, worth(key, value)));
  }
  const parts = [element("h2", {}, signal.name), large, list];
  if (signal.error) parts.push(element("p", { class: "bad" }, signal.error));
  if (signal.note) parts.push(element("p", {}, signal.note));
  if (signal.original) {
    const found = element("dl"), button = element("button", { onclick: () => measure(signal, found, button) }, "Measure quality");
    parts.push(element("p", {}, `Compared with ${signal.original}.`), signal.quality ? "" : button, found);
    if (signal.quality) told(signal.quality, found);
  }
  $("facts").replaceChildren(...parts);
}

function told(quality, list) {
  for (const [key, value] of Object.entries(quality)) list.append(element("dt", {}, key.replaceAll("_", " ")), element("dd", {}, worth(key, value)));
}

async function measure(signal, list, button) {
  button.disabled = true; button.textContent = "Measuring…";
  try {
    signal.quality = await askFacts(signal.number, "quality");
    told(signal.quality, list); button.remove();
  } catch (error) { button.textContent = error.message; }
}

// ---- keys ----

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (["SELECT", "INPUT"].includes(event.target.tagName) && event.target.type !== "range") return;
  if (event.key === " " && event.target.tagName === "BUTTON") event.target.blur();
  if (current()?.key(event)) { event.preventDefault(); return; }
  const acts = {
    f: fullscreen, i: () => $("about").click(), "?": () => $("keys").showModal(), g: () => all.length > 1 && $("layout").click(),
    "[": () => choose((active + all.length - 1) % all.length), "]": () => choose((active + 1) % all.length), c: compare,
  };
  if (acts[event.key]) { acts[event.key](); event.preventDefault(); }
}

function compare() {
  const modes = current()?.modes;
  if (modes) shared.setMode(modes[(modes.indexOf(current().mode) + 1) % modes.length]);
}

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stages").requestFullscreen?.();
}

async function start() {
  try {
    all = (await askSignals()).map((signal, number) => ({ ...signal, number }));
  } catch (error) {
    $("stages").append(element("p", { class: "error", role: "alert" }, error.message));
    return;
  }
  for (const signal of all)
    $("tabs").append(element("button", { role: "tab", title: signal.name, class: signal.kind ? "" : "broken", onclick: () => choose(signal.number) }, signal.name));
  $("layout").hidden = all.length < 2;
  $("layout").onclick = () => { grid = !grid; $("layout").setAttribute("aria-pressed", grid); build(); };
  $("about").onclick = () => { const plain = document.body.classList.toggle("plain"); $("about").setAttribute("aria-pressed", !plain); };
  $("fullscreen").onclick = fullscreen;
  $("help").onclick = () => $("keys").showModal();
  addEventListener("keydown", key);
  build();
}

Object.assign(window, { shared, COMPARISONS });
start();
