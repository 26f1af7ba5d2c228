// Time on the page: playing, stopping, going to a place; of videos, sounds, and slices of volumes.

import { clock, element } from "./stage.js";

const SHORT_STEP = 5, LONG_STEP = 60; // seconds, as in video.js

export class Transport {
  // length: in seconds; count: frames or slices, if there are; moved(): called when the time has changed;
  // ready(index, stalled): whether it can be shown already, else time stands still
  constructor(stage, { length, count = 0, label = clock, moved, sound = null, ready = () => true }) {
    Object.assign(this, { stage, length, count, label, moved, sound, ready, time: 0, playing: false });
    const bar = stage.bar;
    this.toggle = bar.appendChild(element("button", { title: "Play, pause (space)", "aria-label": "Play", onclick: () => this.play(!this.playing) }, "▶"));
    if (count > 1) {
      bar.append(element("button", { title: "Back (,)", onclick: () => this.stepBy(-1) }, "‹"));
      bar.append(element("button", { title: "On (.)", onclick: () => this.stepBy(1) }, "›"));
    }
    this.slider = bar.appendChild(element("input", {
      type: "range", min: 0, max: count > 1 ? count - 1 : 1000, step: count > 1 ? 1 : "any", value: 0, "aria-label": "Position",
      oninput: () => this.go(count > 1 ? this.timeOf(Number(this.slider.value)) : (this.slider.value / 1000) * length),
    }));
    this.text = bar.appendChild(element("span", { class: "time" }));
    if (sound) this.mute = bar.appendChild(element("button", { title: "Mute (m)", "aria-pressed": "false", onclick: () => this.setMuted(!sound.muted) }, "♪"));
    this.show();
  }

  destroy() { this.play(false); this.gone = true; }

  // Of the frame that is seen; times of frames may be told one by one.
  get index() {
    if (this.times) {
      let found = 0;
      while (found + 1 < this.count && this.times[found + 1] <= this.time + 1e-6) found++;
      return found;
    }
    return Math.min(Math.max(Math.floor((this.time / this.length) * this.count + 1e-6), 0), this.count - 1);
  }
  timeOf(index) { return this.times ? this.times[index] : (index / this.count) * this.length; }

  show() {
    if (this.count > 1) this.slider.value = this.index;
    else this.slider.value = (this.time / this.length) * 1000;
    this.text.textContent = this.label(this.time, this.index);
  }

  // To a time; `quietly`: because another one went there.
  go(time, quietly = false) {
    this.time = Math.min(Math.max(time, 0), this.length);
    if (this.playing) this.begin();
    this.show(); this.moved(this.index);
    if (!quietly) this.stage.shared.setTime(this.time, this.stage);
  }
  stepBy(n) {
    this.play(false);
    this.go(this.timeOf(Math.min(Math.max(this.index + n, 0), this.count - 1)));
  }

  play(on) {
    if (on === this.playing || this.gone) return;
    this.playing = on; this.stalled = false;
    this.stage.busy?.(false);
    this.toggle.textContent = on ? "❚❚" : "▶";
    this.toggle.setAttribute("aria-label", on ? "Pause" : "Play");
    if (on) {
      if (this.time >= this.length - 1e-3 || (this.count > 1 && this.index === this.count - 1)) this.time = 0;
      this.begin();
      this.tick();
    } else { this.sound?.stop(); this.show(); this.moved(this.index); }
  }

  begin() {
    this.from = this.time; this.began = performance.now(); this.stalled = false;
    this.sound?.start(this.time);
  }
  tick() {
    if (!this.playing) return;
    // Sound that has to wait makes the picture wait.
    const heard = this.sound?.position();
    const time = heard ?? this.from + (performance.now() - this.began) / 1000;
    if (this.stalled) {
      if (this.ready(this.index, true)) { this.stalled = false; this.begin(); }
      this.again();
    } else if (time >= this.length) {
      this.time = this.length; this.play(false);
    } else {
      const before = this.index, then = this.time;
      this.time = time;
      if (!this.ready(this.index, false)) { // it goes on from here when it can
        this.stalled = true; this.sound?.stop();
        this.time = Math.max(then, this.count > 1 ? this.timeOf(this.index) : time);
      }
      this.show();
      if (this.count < 2 || this.index !== before) this.moved(this.index);
      this.again();
    }
  }
  again() {
    this.stage.busy?.(this.stalled);
    requestAnimationFrame(() => this.tick());
  }

  setMuted(muted) {
    this.sound.setMuted(muted);
    this.mute.setAttribute("aria-pressed", muted);
    this.mute.style.textDecoration = muted ? "line-through" : "";
  }

  key(event) {
    const { key } = event;
    if (key === " ") this.play(!this.playing);
    else if (key === "ArrowLeft" || key === "ArrowRight") this.go(this.time + (key === "ArrowLeft" ? -SHORT_STEP : SHORT_STEP));
    else if (key === "PageUp" || key === "PageDown") this.go(this.time + (key === "PageUp" ? -LONG_STEP : LONG_STEP));
    else if (key === "Home") this.go(0);
    else if (key === "End") this.go(this.count > 1 ? this.timeOf(this.count - 1) : this.length);
    else if (this.count > 1 && (key === "," || key === ".")) this.stepBy(key === "," ? -1 : 1);
    else if (/^[0-9]$/.test(key)) this.go((Number(key) / 10) * this.length);
    else if (key === "m" && this.sound) this.setMuted(!this.sound.muted);
    else return false;
    return true;
  }
}
