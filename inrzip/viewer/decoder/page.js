// The page of `inrzip export-viewer`: the file is in it, and so is what decodes it.

import { Look, PlaneView, toCanvas } from "./plane.js";

const text = (id) => document.getElementById(id).textContent;

function bytesOf(base64) { return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)); }

// Workers, each with the decoder; what nobody waits for any more is not begun.
class Decoders {
  constructor(count, open) {
    const source = URL.createObjectURL(new Blob([text("decoder")], { type: "text/javascript" }));
    this.queue = []; this.waiting = new Map(); this.next = 1; this.open = open;
    this.free = [];
    this.start = () => {
      const worker = new Worker(source);
      worker.onmessage = ({ data }) => this.done(worker, data);
      worker.onerror = (event) => this.done(worker, { id: worker.id, error: event.message || "the decoder failed" });
      worker.fresh = true;
      this.free.push(worker);
    };
    for (let i = 0; i < count; i++) this.start();
  }
  ask(question, signal) {
    return new Promise((resolve, reject) => {
      this.queue.push({ question, signal, resolve, reject });
      this.feed();
    });
  }
  feed() {
    while (this.free.length && this.queue.length) {
      const { question, signal, resolve, reject } = this.queue.shift();
      if (signal?.aborted) { reject(new DOMException("not wanted any more", "AbortError")); continue; }
      const worker = this.free.pop();
      worker.id = this.next++;
      this.waiting.set(worker.id, { resolve, reject });
      if (worker.fresh && !question.open) worker.postMessage({ id: 0, open: this.open });
      worker.fresh = false;
      worker.postMessage({ id: worker.id, ...question });
    }
  }
  done(worker, { id, error, ...answer }) {
    const asked = this.waiting.get(id);
    if (!asked) return; // of a file that was opened once more
    this.waiting.delete(id);
    this.free.push(worker);
    if (error) asked.reject(new Error(error)); else asked.resolve(answer);
    this.feed();
  }
}

async function start() {
  const field = document.getElementById("field"), notice = document.getElementById("notice");
  const report = (error) => { notice.hidden = !error || error.name === "AbortError"; if (error) notice.textContent = error.message; };
  try {
    const prior = JSON.parse(text("prior")), open = { bytes: bytesOf(text("file")), prior: prior && { mean: Int32Array.from(prior.mean), spread: Int32Array.from(prior.spread), steps: prior.steps } };
    // A picture of latents is decoded whole, so once.
    const decoders = new Decoders(prior ? 1 : Math.min(4, navigator.hardwareConcurrency || 1), open);
    const { shape: [rows, columns] } = await decoders.ask({ open });
    const fetch = (layer, bounds, scale, signal) => decoders.ask({ bounds, scale }, signal);
    const view = new PlaneView(field, { rows, columns, look: new Look(), fetch, report });
    view.refining = false;
    // Networks of positions: few points at first.
    const scale = Math.min(1, view.fitting()) / (prior ? 1 : 4), found = await decoders.ask({ bounds: [0, rows, 0, columns], scale, quickly: !prior });
    view.setBase("decoded", toCanvas(found), prior ? scale : 0);
    view.refining = true;
    view.moved();
    for (const [id, act] of [["out", () => view.step(-1)], ["in", () => view.step(1)], ["fit", () => view.all()], ["one", () => view.zoomAt(1 / view.zoom())], ["full", () => document.documentElement.requestFullscreen?.()]])
      document.getElementById(id).onclick = act;
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "f") document.documentElement.requestFullscreen?.();
      else if (!view.key(event)) return;
      event.preventDefault();
    });
    Object.assign(window, { view, decoders });
  } catch (error) { report(error); }
}

start();
