// Three dimensions: a camera that turns around what is in the middle, and WebGL2 for triangles and volumes.

const NO_WEBGL = "this browser has no WebGL2, which surfaces and volumes need; slices work without";

// 4x4 matrices, column by column.
function multiply(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++)
    for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
  return out;
}
function perspective(aspect) {
  const f = 2.4, near = 0.1, far = 20;
  return new Float32Array([f / Math.max(aspect, 1), 0, 0, 0, 0, f * Math.min(aspect, 1), 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0]);
}

export class Camera {
  yaw = 0.6; pitch = 0.35; distance = 4.2;
  // From the middle to the eye, and the two axes of the picture.
  get axes() {
    const { yaw, pitch } = this, [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return { back: [sy * cp, sp, cy * cp], right: [cy, 0, -sy], up: [-sy * sp, cp, -cy * sp] };
  }
  get eye() { return this.axes.back.map((v) => v * this.distance); }
  matrix(aspect) {
    const { back, right, up } = this.axes, m = new Float32Array(16);
    for (let k = 0; k < 3; k++) { m[4 * k] = right[k]; m[4 * k + 1] = up[k]; m[4 * k + 2] = back[k]; }
    m[14] = -this.distance; m[15] = 1;
    return multiply(perspective(aspect), m);
  }
}

const MESH_VERTEX = `#version 300 es
in vec4 place; in vec3 normal;
uniform mat4 view; uniform vec3 turn;
out vec3 facing; out float far;
void main() { facing = normal; far = place.w; gl_Position = view * vec4(place.xyz, 1.0); }`;
const MESH_FRAGMENT = `#version 300 es
precision highp float;
in vec3 facing; in float far;
uniform vec3 back, up; uniform float errors;
out vec4 colour;
vec3 heat(float t) {
  return clamp(vec3(1.6 * t, 1.9 * t * t - 0.15, 0.45 * sin(3.14159 * min(2.2 * t, 1.0)) + smoothstep(0.8, 1.0, t)), 0.0, 1.0);
}
void main() {
  vec3 n = normalize(facing);
  if (!gl_FrontFacing) n = -n;
  float light = 0.25 + 0.55 * max(dot(n, back), 0.0) + 0.25 * max(dot(n, up), 0.0);
  vec3 base = errors > 0.0 ? heat(clamp(far * errors, 0.0, 1.0)) + 0.08 : vec3(0.83, 0.84, 0.87);
  colour = vec4(base * light, 1.0);
}`;
const BOX_VERTEX = `#version 300 es
in vec2 place; out vec2 at;
void main() { at = place; gl_Position = vec4(place, 0.0, 1.0); }`;
const BOX_FRAGMENT = `#version 300 es
precision highp float; precision highp sampler3D;
in vec2 at;
uniform sampler3D block; uniform vec3 eye, back, right, up, half_size; uniform vec2 reach; uniform float steps, style, threshold;
out vec4 colour;
void main() {
  vec3 ray = normalize(-back + right * at.x * reach.x + up * at.y * reach.y);
  vec3 a = (-half_size - eye) / ray, b = (half_size - eye) / ray, low = min(a, b), high = max(a, b);
  float start = max(max(low.x, low.y), max(low.z, 0.0)), end = min(high.x, min(high.y, high.z));
  if (start >= end) discard;
  float size = (end - start) / steps, most = 0.0, seen = 1.0, sum = 0.0;
  for (float i = 0.5; i < steps; i += 1.0) {
    vec3 p = (eye + ray * (start + i * size)) / half_size * 0.5 + 0.5;
    float v = texture(block, p).r;
    most = max(most, v);
    if (style > 0.5) {
      float opaque = 1.0 - exp(-max(v - threshold, 0.0) * size * 16.0);
      sum += seen * opaque * v; seen *= 1.0 - opaque;
    }
  }
  float v = style > 0.5 ? sum : most;
  vec3 tone = style > 0.5 ? vec3(v, v * 0.96, v * 0.9) * 1.25 : vec3(v);
  colour = vec4(tone, 1.0);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text); gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "WebGL2 failed");
  return new Proxy({}, { get: (_, name) => (name === "use" ? () => gl.useProgram(made) : name === "attribute" ? (n) => gl.getAttribLocation(made, n) : gl.getUniformLocation(made, name)) });
}

function normals(vertices, faces) {
  const out = new Float32Array((vertices.length / 4) * 3);
  for (let i = 0; i < faces.length; i += 3) {
    const [a, b, c] = [faces[i], faces[i + 1], faces[i + 2]];
    const u = [0, 1, 2].map((k) => vertices[4 * b + k] - vertices[4 * a + k]), v = [0, 1, 2].map((k) => vertices[4 * c + k] - vertices[4 * a + k]);
    const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const j of [a, b, c]) for (let k = 0; k < 3; k++) out[3 * j + k] += n[k];
  }
  return out;
}

// What is seen in a field: `things` by the name of a pane.
export class Solid {
  constructor(field, look) {
    Object.assign(this, { field, camera: look.camera ?? (look.camera = new Camera()), things: {}, panes: ["decoded"], wiped: 0.5, errors: 0 });
    this.canvas = field.appendChild(document.createElement("canvas"));
    const gl = (this.gl = this.canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true, alpha: false }));
    if (!gl) throw new Error(NO_WEBGL);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(field);
    this.style = 0; this.threshold = 0.25; this.frames = 0;
    this.control = new AbortController();
    this.listen(look);
    this.resized();
  }
  destroy() {
    this.gone = true;
    this.observer.disconnect(); this.control.abort();
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
    this.canvas.remove();
  }

  setMesh(name, vertices, faces) {
    const { gl } = this;
    this.mesh ??= program(gl, MESH_VERTEX, MESH_FRAGMENT);
    this.drop(name);
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    for (const [attribute, values, n] of [["place", vertices, 4], ["normal", normals(vertices, faces), 3]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      const at = this.mesh.attribute(attribute);
      gl.enableVertexAttribArray(at); gl.vertexAttribPointer(at, n, gl.FLOAT, false, 0, 0);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.things[name] = { array, count: faces.length };
    this.draw();
  }

  // 8-bit numbers of three axes, the last one fastest. `extents`: of the whole, in samples.
  setBlock(name, [depth, height, width], data, extents) {
    const { gl } = this;
    this.box ??= program(gl, BOX_VERTEX, BOX_FRAGMENT);
    this.drop(name);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8, width, height, depth, 0, gl.RED, gl.UNSIGNED_BYTE, data);
    for (const [key, value] of [["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"], ["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"], ["WRAP_R", "CLAMP_TO_EDGE"]])
      gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_${key}`], gl[value]);
    if (!this.square) {
      this.square = gl.createVertexArray();
      gl.bindVertexArray(this.square);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(this.box.attribute("place")); gl.vertexAttribPointer(this.box.attribute("place"), 2, gl.FLOAT, false, 0, 0);
      gl.bindVertexArray(null);
    }
    const longest = Math.max(...extents);
    this.things[name] = { texture, steps: 1.5 * Math.max(depth, height, width), half: [extents[2], extents[1], extents[0]].map((n) => n / longest) };
    this.draw();
  }

  drop(name) {
    const thing = this.things[name] ?? (name === "error" ? this.things.decoded : null);
    if (thing?.texture) this.gl.deleteTexture(thing.texture);
    if (thing?.array) this.gl.deleteVertexArray(thing.array);
  }

  resized() {
    const box = this.field.getBoundingClientRect(), ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.draw();
  }
  draw() {
    if (this.drawing || this.gone) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; if (!this.gone) this.paint(); });
  }

  paint() {
    const { gl, canvas, camera } = this, { width, height } = canvas;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0.075, 0.08, 0.09, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const side = this.layout === "side", edge = side ? width >> 1 : Math.round(this.wiped * width);
    this.panes.forEach((name, i) => {
      const thing = this.things[name] ?? (name === "error" ? this.things.decoded : null);
      const [left, right] = this.panes.length < 2 ? [0, width] : i === 0 ? [0, edge] : [edge, width];
      if (!thing || right <= left) return;
      const view = side ? [left, right - left] : [0, width];
      gl.viewport(view[0], 0, view[1], height);
      gl.enable(gl.SCISSOR_TEST); gl.scissor(left, 0, right - left, height);
      const aspect = view[1] / height, { back, right: across, up } = camera.axes;
      if (thing.array) {
        const { mesh } = this;
        mesh.use(); gl.enable(gl.DEPTH_TEST);
        gl.uniformMatrix4fv(mesh.view, false, camera.matrix(aspect));
        gl.uniform3fv(mesh.back, back); gl.uniform3fv(mesh.up, up); gl.uniform1f(mesh.errors, this.things[name] && name === "error" ? this.errors : 0);
        gl.bindVertexArray(thing.array); gl.drawElements(gl.TRIANGLES, thing.count, gl.UNSIGNED_INT, 0);
      } else {
        const { box } = this;
        box.use(); gl.disable(gl.DEPTH_TEST);
        gl.bindTexture(gl.TEXTURE_3D, thing.texture);
        gl.uniform3fv(box.eye, camera.eye); gl.uniform3fv(box.back, back); gl.uniform3fv(box.right, across); gl.uniform3fv(box.up, up);
        gl.uniform3fv(box.half_size, thing.half);
        gl.uniform2f(box.reach, Math.max(aspect, 1) / 2.4, 1 / 2.4 / Math.min(aspect, 1));
        gl.uniform1f(box.steps, thing.steps); gl.uniform1f(box.style, this.style); gl.uniform1f(box.threshold, this.threshold);
        gl.bindVertexArray(this.square); gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
      }
    });
    gl.bindVertexArray(null);
    this.frames++;
    if (Object.keys(this.things).length && !performance.getEntriesByName("first picture").length) performance.mark("first picture");
  }

  turn(dx, dy) {
    this.camera.yaw -= dx * 0.01;
    this.camera.pitch = Math.min(Math.max(this.camera.pitch + dy * 0.01, -1.55), 1.55);
    this.draw();
  }
  approach(factor) { this.camera.distance = Math.min(Math.max(this.camera.distance / factor, 0.6), 14); this.draw(); }
  step(direction) { this.approach(direction > 0 ? 1.25 : 0.8); }
  all() { Object.assign(this.camera, new Camera()); this.draw(); }

  listen() {
    const { field } = this, touches = new Map();
    const on = (name, act) => field.addEventListener(name, act, { signal: this.control.signal, passive: false });
    on("pointerdown", (event) => { if (event.target.className === "wipe") return; field.setPointerCapture(event.pointerId); touches.set(event.pointerId, [event.clientX, event.clientY]); });
    on("pointermove", (event) => {
      const before = touches.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY], other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
      if (other) this.approach(Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1])));
      else this.turn(now[0] - before[0], now[1] - before[1]);
      touches.set(event.pointerId, now);
    });
    for (const name of ["pointerup", "pointercancel"]) on(name, (event) => touches.delete(event.pointerId));
    on("wheel", (event) => { event.preventDefault(); this.approach(2 ** (-event.deltaY / 600)); });
  }

  key(event) {
    const turns = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
    if (event.key === "+" || event.key === "=") this.step(1);
    else if (event.key === "-") this.step(-1);
    else if (event.key === "z") this.all();
    else if (turns[event.key]) this.turn(...turns[event.key]);
    else return false;
    return true;
  }
}

// A handle to wipe with, over what is not a plane.
export function wipeHandle(field, moved) {
  const handle = field.appendChild(document.createElement("div"));
  handle.className = "wipe"; handle.style.left = "50%";
  handle.onpointerdown = (event) => { handle.setPointerCapture(event.pointerId); event.stopPropagation(); };
  handle.onpointermove = (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = field.getBoundingClientRect(), at = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    handle.style.left = `${at * 100}%`;
    moved(at);
  };
  return handle;
}
