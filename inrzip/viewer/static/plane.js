// A picture to pan and zoom. What is seen is asked for at the size it is seen at, in tiles; what is not seen any more
// is not waited for.

const TILE = 256; // pixels along a side, about
const AT_ONCE = 3; // requests under way
const LARGEST_ZOOM = 256; // pixels for a sample
const SETTLED = 40; // milliseconds without a change of scale, after which tiles of the new one are asked for
const SOON = 120; // milliseconds: where all tiles would take longer, the view is asked for more coarsely before
const COARSER = [2, 4]; // by how much, at most
const WHEEL_STEP = 1 / 400; // halvings of the scale for a pixel of the wheel

// How error maps look: from black over violet and orange to white; 24 levels of 8 bits make it white.
const ERROR_SCALE = 24;
const HEAT = (() => {
  const stops = [[0, 0, 4], [60, 15, 110], [150, 40, 110], [225, 90, 55], [250, 180, 40], [255, 255, 230]];
  return Uint8ClampedArray.from({ length: 768 }, (_, i) => {
    const at = (Math.floor(i / 3) / 255) * (stops.length - 1), k = Math.min(Math.floor(at), stops.length - 2);
    return stops[k][i % 3] + (stops[k + 1][i % 3] - stops[k][i % 3]) * (at - k);
  });
})();

// {shape: [h, w, channels], data} of 8-bit numbers as a canvas; of errors (in quarters of a level) as colours.
export function toCanvas({ shape: [height, width, channels], data }, isError = false) {
  const pixels = new ImageData(width, height), out = pixels.data, n = width * height;
  if (isError) {
    for (let i = 0; i < n; i++) {
      const level = Math.min(255, Math.round((data[i] / 4) * (255 / ERROR_SCALE))) * 3;
      out[4 * i] = HEAT[level]; out[4 * i + 1] = HEAT[level + 1]; out[4 * i + 2] = HEAT[level + 2]; out[4 * i + 3] = 255;
    }
  } else {
    const grey = channels < 3, alpha = channels === 2 ? 1 : channels === 4 ? 3 : -1;
    for (let i = 0, at = 0; i < n; i++, at += channels) {
      out[4 * i] = data[at];
      out[4 * i + 1] = data[grey ? at : at + 1];
      out[4 * i + 2] = data[grey ? at : at + 2];
      out[4 * i + 3] = alpha < 0 ? 255 : data[at + alpha];
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// What several views of one size of picture have in common: where they look, as fractions of it, and how many pixels of
// the page its width takes (0: as many as fit).
export class Look extends EventTarget {
  x = 0.5; y = 0.5; extent = 0;
  set(values, from) {
    Object.assign(this, values);
    this.dispatchEvent(new CustomEvent("change", { detail: from }));
  }
}

class Layer {
  tiles = new Map(); // of this scale, by their place
  older = []; // of scales before, which are seen until tiles come
  base = null;
  pace = 0; // milliseconds for a pixel, as answers came last
  constructor(name) { this.name = name; }
  forget() { this.tiles.clear(); this.older = []; }
}

export class PlaneView {
  // fetch(layer, [top, bottom, left, right], scale, signal) -> {shape, data}; report(error or null)
  constructor(field, { rows, columns, aspect = 1, look, fetch, report = () => {} }) {
    Object.assign(this, { field, rows, columns, aspect, look, fetch, report });
    this.canvas = field.appendChild(document.createElement("canvas"));
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.handle = field.appendChild(document.createElement("div"));
    this.handle.className = "wipe";
    this.readout = field.appendChild(document.createElement("div"));
    this.readout.className = "readout";
    this.busy = field.appendChild(document.createElement("div"));
    this.busy.className = "busy"; this.busy.hidden = true;
    this.tags = [0, 1].map(() => {
      const tag = field.appendChild(document.createElement("div"));
      tag.className = "tag"; tag.hidden = true;
      return tag;
    });
    this.layers = new Map();
    this.mode = "decoded"; this.wiped = 0.5;
    this.scale = 0; this.anchor = [0, 0]; this.span = 1;
    this.waiting = new Map(); // tiles under way: key -> AbortController
    this.failed = new Set();
    this.finest = Infinity; // pixels for a sample beyond which tiles are not asked for
    this.refining = true;
    this.shown = 0; // frames drawn; tests look at it
    this.listeners = new AbortController();
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(field);
    this.look.addEventListener("change", () => this.moved(), { signal: this.listeners.signal });
    this.listen();
    this.resized();
  }

  destroy() {
    this.gone = true;
    this.observer.disconnect(); this.listeners.abort(); this.abort();
    clearTimeout(this.timer);
  }

  // ---- where what is ----

  get ratio() { return window.devicePixelRatio || 1; }
  get panes() { // {layer, left, width} in pixels of the canvas
    const { width } = this.canvas, half = Math.floor(width / 2);
    if (this.mode === "side") return [{ layer: "original", left: 0, width: half }, { layer: "decoded", left: half, width: width - half }];
    const edge = Math.round(this.wiped * width);
    if (this.mode === "wipe") return [{ layer: "original", left: 0, width: edge, whole: true }, { layer: "decoded", left: edge, width: width - edge, whole: true }];
    return [{ layer: this.mode, left: 0, width }];
  }
  paneWidth() { return this.mode === "side" ? this.canvas.width / 2 : this.canvas.width; }
  fitting() { return Math.min(this.paneWidth() / (this.columns * this.aspect), this.canvas.height / this.rows); }
  // pixels of the canvas for a row
  zoom() {
    if (!this.look.extent) return this.fitting();
    const zoom = (this.look.extent * this.ratio) / (this.columns * this.aspect), whole = Math.round(zoom);
    return Math.abs(zoom - whole) < 1e-9 ? whole : zoom; // a hair below 1 would average samples
  }
  // where row 0 and column 0 are in a pane
  origin(pane) {
    const zoom = this.zoom(), width = pane.whole ? this.canvas.width : pane.width, left = pane.whole ? 0 : pane.left;
    return [
      Math.round(this.canvas.height / 2 - this.look.y * this.rows * zoom),
      Math.round(left + width / 2 - this.look.x * this.columns * zoom * this.aspect),
    ];
  }
  // the samples that are seen: [top, bottom, left, right]
  visible() {
    const zoom = this.zoom(), [top, left] = this.origin({ left: 0, width: this.paneWidth() });
    const clip = (v, n) => Math.min(Math.max(v, 0), n);
    return [
      clip(Math.floor(-top / zoom), this.rows), clip(Math.ceil((this.canvas.height - top) / zoom), this.rows),
      clip(Math.floor(-left / zoom / this.aspect), this.columns),
      clip(Math.ceil((this.paneWidth() - left) / zoom / this.aspect), this.columns),
    ];
  }

  resized() {
    const box = this.field.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    this.moved();
  }

  // ---- layers ----

  layer(name) {
    if (!this.layers.has(name)) this.layers.set(name, new Layer(name));
    return this.layers.get(name);
  }

  setMode(mode) {
    this.mode = mode;
    this.handle.style.display = mode === "wipe" ? "block" : "none";
    const names = this.panes.map((pane) => pane.layer);
    this.tags.forEach((tag, i) => {
      tag.hidden = mode === "decoded";
      tag.textContent = names.length === 2 ? names[i] : i === 0 ? names[0] : "";
      if (names.length < 2 && i === 1) tag.hidden = true;
      tag.style.left = names.length === 2 && i === 1 ? (mode === "side" ? "calc(50% + 8px)" : "auto") : "8px";
      tag.style.right = mode === "wipe" && i === 1 ? "8px" : "auto";
    });
    this.scale = 0; // panes may have another size
    this.moved();
  }

  // A whole picture, seen where there are no tiles; what was there before goes.
  setBase(name, image, scale) {
    const layer = this.layer(name);
    layer.forget(); layer.base = image; layer.baseScale = scale;
    this.failed.clear();
    for (const [key, control] of this.waiting) if (key.startsWith(name)) { control.abort(); this.waiting.delete(key); }
    this.draw(); this.later();
  }
  dropTiles() { for (const layer of this.layers.values()) layer.forget(); this.abort(); this.failed.clear(); }

  // ---- what is asked for ----

  abort() {
    for (const control of this.waiting.values()) control.abort();
    this.waiting.clear(); this.busy.hidden = true;
  }

  moved() { this.draw(); this.later(); }

  // Whether the whole picture is there just as it is seen.
  exact(layer, zoom) { return layer.base !== null && Math.abs(layer.baseScale - zoom) < 1e-9; }

  later() {
    clearTimeout(this.timer);
    this.idle = false;
    const same = Math.abs(Math.min(this.zoom(), this.finest) - this.scale) < 1e-9;
    if (!same) this.abort();
    this.timer = setTimeout(() => this.refine(), same || !this.scale || this.steps ? 0 : SETTLED);
  }

  refine() {
    if (this.gone || !this.refining || this.canvas.width < 2) return;
    const zoom = Math.min(this.zoom(), this.finest), seen = this.visible();
    if (seen[1] <= seen[0] || seen[3] <= seen[2]) return;
    if (Math.abs(zoom - this.scale) >= 1e-9) {
      this.abort(); this.failed.clear();
      for (const layer of this.layers.values()) {
        if (layer.tiles.size) layer.older = [...layer.tiles.values(), ...layer.older].slice(0, 64);
        layer.tiles = new Map();
      }
      this.scale = zoom;
      this.span = Math.max(1, Math.round(TILE / zoom));
      this.anchor = [seen[0], seen[2]];
      this.answered = null;
      for (const { layer } of this.panes) this.askCoarsely(this.layer(layer), seen);
    }
    const wanted = [];
    for (const { layer: name } of this.panes) {
      const layer = this.layer(name);
      if (this.exact(layer, zoom)) continue;
      const [i0, i1] = [seen[0], seen[1] - 1].map((v) => Math.floor((v - this.anchor[0]) / this.span));
      const [j0, j1] = [seen[2], seen[3] - 1].map((v) => Math.floor((v - this.anchor[1]) / this.span));
      for (let i = i0; i <= i1; i++)
        for (let j = j0; j <= j1; j++) {
          const key = `${name} ${i} ${j}`;
          if (layer.tiles.has(key) || this.waiting.has(key) || this.failed.has(key)) continue;
          const far = Math.hypot(i - (i0 + i1) / 2, j - (j0 + j1) / 2);
          wanted.push({ key, layer, i, j, far });
        }
    }
    wanted.sort((a, b) => a.far - b.far);
    for (const tile of wanted.slice(0, Math.max(0, AT_ONCE - this.waiting.size))) this.ask(tile);
    this.busy.hidden = !this.waiting.size;
    this.idle = !this.waiting.size && !wanted.length;
    if (this.idle) this.draw();
  }

  // All that is seen, if tiles of it will be long in coming.
  async askCoarsely(layer, seen) {
    const time = layer.pace * (seen[1] - seen[0]) * (seen[3] - seen[2]) * this.scale ** 2;
    if (time < SOON || this.exact(layer, this.zoom()) || this.scale < COARSER[0]) return;
    const by = time < SOON * COARSER[0] ** 2 ? COARSER[0] : COARSER[1], key = `${layer.name} coarse`, control = new AbortController();
    this.waiting.set(key, control);
    try {
      const image = toCanvas(await this.timed(layer, seen, this.scale / by, control.signal), layer.name === "error");
      if (control.signal.aborted) return;
      layer.older.unshift({ image, bounds: seen });
      this.answered ??= performance.now();
    } catch { /* the tiles will tell */ }
    if (control.signal.aborted) return;
    this.waiting.delete(key);
    this.draw(); this.refine();
  }

  async timed(layer, bounds, scale, signal) {
    const sent = performance.now(), found = await this.fetch(layer.name, bounds, scale, signal), now = performance.now();
    const pace = (now - Math.max(sent, this.replied ?? 0)) / (found.shape[0] * found.shape[1]);
    layer.pace = layer.pace ? (layer.pace + pace) / 2 : pace;
    this.replied = now;
    return found;
  }

  bounds(i, j) {
    const cut = (start, n) => [Math.max(start, 0), Math.min(start + this.span, n)];
    return [...cut(this.anchor[0] + i * this.span, this.rows), ...cut(this.anchor[1] + j * this.span, this.columns)];
  }

  async ask({ key, layer, i, j }) {
    const control = new AbortController(), bounds = this.bounds(i, j), scale = this.scale;
    this.waiting.set(key, control);
    try {
      const found = await this.timed(layer, bounds, scale, control.signal);
      if (control.signal.aborted) return;
      layer.tiles.set(key, { image: toCanvas(found, layer.name === "error"), bounds });
      this.report(null);
    } catch (error) {
      if (control.signal.aborted || this.gone) return;
      this.failed.add(key); this.report(error);
    }
    this.waiting.delete(key);
    this.draw(); this.refine();
  }

  // ---- drawing ----

  draw() {
    if (this.drawing || this.gone) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; if (!this.gone) this.paint(); });
  }

  paint() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    let drawn = false;
    for (const pane of this.panes) {
      if (pane.width < 1) continue;
      const layer = this.layer(pane.layer), [top, left] = this.origin(pane), zoom = this.zoom();
      context.save();
      context.beginPath(); context.rect(pane.left, 0, pane.width, canvas.height); context.clip();
      const place = (image, [r0, r1, c0, c1]) => {
        const y0 = Math.round(top + r0 * zoom), y1 = Math.round(top + r1 * zoom);
        const x0 = Math.round(left + c0 * zoom * this.aspect), x1 = Math.round(left + c1 * zoom * this.aspect);
        if (y1 < 0 || x1 < pane.left || y0 > canvas.height || x0 > pane.left + pane.width) return;
        const large = image.width * 1.01 < x1 - x0 && pane.layer !== "decoded";
        context.imageSmoothingEnabled = !(image.width === x1 - x0 && image.height === y1 - y0) && !large;
        context.imageSmoothingQuality = "high";
        context.drawImage(image, x0, y0, x1 - x0, y1 - y0);
        drawn = true;
      };
      if (layer.base) place(layer.base, [0, this.rows, 0, this.columns]);
      if (!this.exact(layer, zoom)) {
        for (const tile of [...layer.older].reverse()) place(tile.image, tile.bounds);
        for (const tile of layer.tiles.values()) place(tile.image, tile.bounds);
      }
      context.restore();
    }
    if (this.mode === "side") {
      context.fillStyle = "#2c2f35";
      context.fillRect(Math.floor(canvas.width / 2), 0, 1, canvas.height);
    }
    if (this.mode === "wipe") this.handle.style.left = `${this.wiped * 100}%`;
    const percent = (this.zoom() / this.ratio) * 100;
    this.readout.textContent = (this.under ? `${this.under}   ` : "") + (percent < 10 ? percent.toPrecision(2) : Math.round(percent)) + " %";
    if (this.idle) this.answered ??= performance.now();
    if (drawn) {
      this.shown++;
      performance.getEntriesByName("first picture").length || performance.mark("first picture");
    }
  }

  // ---- looking around ----

  // Zooms so that what is at (x, y) of the field, in pixels of the page, stays there.
  zoomAt(factor, x = this.field.clientWidth / 2, y = this.field.clientHeight / 2) {
    const before = this.zoom(), least = Math.min(this.fitting(), 1) / 4;
    const zoom = Math.min(Math.max(before * factor, least), LARGEST_ZOOM * this.ratio);
    const pane = this.paneAt(x), [top, left] = this.origin(pane);
    const px = x * this.ratio, py = y * this.ratio;
    const row = (py - top) / before, column = (px - left) / before / this.aspect;
    const width = pane.whole ? this.canvas.width : pane.width, start = pane.whole ? 0 : pane.left;
    this.lookAt(
      (column * this.aspect * zoom - (px - start - width / 2)) / (zoom * this.columns * this.aspect),
      (row * zoom - (py - this.canvas.height / 2)) / (zoom * this.rows),
      (zoom * this.columns * this.aspect) / this.ratio,
    );
  }
  lookAt(x, y, extent = this.look.extent) {
    const clip = (v) => Math.min(Math.max(v, 0), 1);
    this.look.set({ x: clip(x), y: clip(y), extent }, this);
  }
  all() { this.look.set({ x: 0.5, y: 0.5, extent: 0 }, this); }
  // To the next power of two.
  step(direction) {
    const now = Math.log2(this.zoom() / this.ratio);
    const next = direction > 0 ? Math.floor(now + 1.001) : Math.ceil(now - 1.001);
    this.steps = true; // one step and no more: nothing to wait for
    this.zoomAt(2 ** next / 2 ** now);
    this.steps = false;
  }
  panBy(dx, dy) {
    const zoom = this.zoom() / this.ratio;
    this.lookAt(this.look.x - dx / (zoom * this.columns * this.aspect), this.look.y - dy / (zoom * this.rows), (zoom * this.columns * this.aspect));
  }
  paneAt(x) {
    const px = x * this.ratio;
    return this.panes.find((pane) => px >= pane.left && px < pane.left + pane.width) || this.panes[0];
  }

  listen() {
    const on = (target, name, act) => target.addEventListener(name, act, { signal: this.listeners.signal, passive: false });
    const { field, handle } = this, touches = new Map();
    const at = (event) => { const box = field.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    on(field, "wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 4 : 1);
      this.zoomAt(2 ** (-pixels * WHEEL_STEP), ...at(event));
    });
    on(field, "pointerdown", (event) => {
      if (event.target === handle || event.button > 0) return;
      field.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, at(event));
      field.classList.add("dragging");
    });
    on(field, "pointermove", (event) => {
      const [x, y] = at(event);
      this.point(x, y);
      const before = touches.get(event.pointerId);
      if (!before) return;
      touches.set(event.pointerId, [x, y]);
      const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const factor = Math.hypot(x - other[0], y - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1);
        this.zoomAt(factor, (x + other[0]) / 2, (y + other[1]) / 2);
        this.panBy((x - before[0]) / 2, (y - before[1]) / 2);
      } else this.panBy(x - before[0], y - before[1]);
    });
    const end = (event) => { touches.delete(event.pointerId); if (!touches.size) field.classList.remove("dragging"); };
    on(field, "pointerup", end); on(field, "pointercancel", end);
    on(field, "pointerleave", () => { this.under = ""; this.draw(); });
    on(field, "dblclick", (event) => { if (event.target !== handle) this.zoomAt(event.shiftKey ? 0.5 : 2, ...at(event)); });
    on(handle, "pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.stopPropagation(); });
    on(handle, "pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      this.wiped = Math.min(Math.max(at(event)[0] / field.clientWidth, 0), 1);
      this.draw();
    });
  }

  point(x, y) {
    const [top, left] = this.origin(this.paneAt(x)), zoom = this.zoom();
    const row = Math.floor((y * this.ratio - top) / zoom), column = Math.floor((x * this.ratio - left) / zoom / this.aspect);
    const inside = row >= 0 && column >= 0 && row < this.rows && column < this.columns;
    this.under = inside ? `${row}, ${column}` : "";
    this.draw();
  }

  // Returns whether the key meant something.
  key(event) {
    const step = event.shiftKey ? 400 : 100;
    const pans = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") this.step(1);
    else if (event.key === "-") this.step(-1);
    else if (event.key === "z") this.all();
    else if (pans[event.key]) this.panBy(...pans[event.key]);
    else return false;
    return true;
  }
}
