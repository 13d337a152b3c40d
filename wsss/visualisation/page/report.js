"use strict";
// The gallery: score maps are thresholded here as the slider moves, with the arithmetic of the
// Python package, so that the IoU of an image is the one that eval_miou would give it.

const IGNORE = 255;
const ERRORS = { missed: [0, 114, 178], spilled: [213, 94, 0], confused: [204, 121, 167] };
const gallery = JSON.parse(document.getElementById("gallery").textContent);
const $ = (id) => document.getElementById(id);
const state = { list: 0, shown: new Set(), order: "worst", by: 0, cls: -1, error: "", live: null, shuffle: 1 };
const percent = (share) => (Number.isFinite(share) ? (100 * share).toFixed(1) : "–");

// --- data ---------------------------------------------------------------------------------------

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Bilinear, as cv2.resize does it: cell centres at half numbers, the edge repeated.
function taps(from, to) {
  const scale = from / to, low = new Int32Array(to), part = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const x = Math.fround((i + 0.5) * scale - 0.5);
    let cell = Math.floor(x), rest = Math.fround(x - cell);
    if (cell < 0) { cell = 0; rest = 0; }
    if (cell >= from - 1) { cell = from - 1; rest = 0; }
    low[i] = cell;
    part[i] = rest;
  }
  return [low, part];
}

// The best class of each pixel and its score, at image size: Scores.full_size() in Python.
function fullSize(cells, layer, width, height) {
  const best = new Float32Array(width * height), label = new Uint8Array(width * height);
  const { rows, columns } = layer, unit = Math.fround(1 / 255), f = Math.fround;
  const [left, across] = taps(columns, width), [top, down] = taps(rows, height);
  const wide = new Float32Array(rows * width);
  layer.labels.forEach((index, p) => {
    const plane = cells.subarray(p * rows * columns, (p + 1) * rows * columns);
    for (let y = 0, at = 0; y < rows; y++) {
      for (let x = 0; x < width; x++, at++) {
        const cell = y * columns + left[x], rest = across[x];
        const next = rest > 0 ? plane[cell + 1] : 0;
        wide[at] = f(f(plane[cell] * f(1 - rest)) + f(next * rest));
      }
    }
    for (let y = 0, at = 0; y < height; y++) {
      const rest = down[y], upper = top[y] * width, lower = rest > 0 ? upper + width : upper;
      for (let x = 0; x < width; x++, at++) {
        const value = wide[upper + x] * f(1 - rest) + wide[lower + x] * rest;
        const score = f(f(value) * unit);
        if (p === 0 || score > best[at]) { best[at] = score; label[at] = index; }
      }
    }
  });
  return { best, label };
}

function thresholded(full, limits) {
  const mask = new Uint8Array(full.best.length);
  for (let i = 0; i < mask.length; i++) {
    if (full.best[i] > limits[full.label[i]]) mask[i] = full.label[i];
  }
  return mask;
}

// Pixels by true and predicted label; the last column takes those that were given none.
function confusion(mask, truth) {
  const size = gallery.classes.length, counts = new Float64Array(size * (size + 1));
  for (let i = 0; i < mask.length; i++) {
    if (truth[i] !== IGNORE) counts[truth[i] * (size + 1) + (mask[i] === IGNORE ? size : mask[i])]++;
  }
  return counts;
}

// The mean IoU of the labels that occur or are predicted in this image.
function imageMiou(counts) {
  const size = gallery.classes.length;
  let sum = 0, known = 0;
  for (let c = 0; c < size; c++) {
    let truth = 0, found = 0;
    for (let o = 0; o <= size; o++) truth += counts[c * (size + 1) + o];
    for (let o = 0; o < size; o++) found += counts[o * (size + 1) + c];
    const hits = counts[c * (size + 1) + c], union = truth + found - hits;
    if (union > 0) { sum += hits / union; known++; }
  }
  return known ? sum / known : NaN;
}

function limitsOf(evaluation) {
  const size = gallery.classes.length;
  if (state.live === null) return Float32Array.from([0, ...evaluation.thresholds]);
  return new Float32Array(size).fill(state.live);
}

async function unpack(image) {
  const photo = new Image();
  photo.src = "data:image/jpeg;base64," + image.photo;
  await photo.decode();
  const truth = await inflate(image.truth), layers = new Map();
  for (const layer of image.layers) {
    const bytes = await inflate(layer.data);
    layers.set(layer.evaluation, "labels" in layer
      ? { full: fullSize(bytes, layer, image.width, image.height) } : { mask: bytes });
  }
  return { photo, truth, layers };
}

function load(image) {
  image.loaded ??= unpack(image);
  return image.loaded;
}

// Big lists: only what can be seen stays in memory.
function release(card) {
  card.querySelector(".tiles").replaceChildren();
  card.image.loaded = null;
}

// --- pictures -----------------------------------------------------------------------------------

const list = () => gallery.lists[state.list];

function tile(name) {
  const figure = document.createElement("figure");
  figure.className = "tile";
  figure.append(document.createElement("canvas"), document.createElement("figcaption"));
  figure.lastChild.textContent = name;
  return figure;
}

const SCORE_COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

// Colour of a score in [0, 1].
function scoreColour(score) {
  const at = Math.min(score, 0.9999) * (SCORE_COLOURS.length - 1), low = Math.floor(at);
  return SCORE_COLOURS[low].map((c, i) => c + (SCORE_COLOURS[low + 1][i] - c) * (at - low));
}

// Colour of an error, null for a pixel that is right or not scored.
function errorColour(label, truth) {
  if (truth === IGNORE || label === truth) return null;
  if (label === 0 || label === IGNORE) return ERRORS.missed;
  return truth === 0 ? ERRORS.spilled : ERRORS.confused;
}

function labelColour(label) {
  if (label === IGNORE) return [224, 224, 192];
  return label > 0 ? gallery.classes[label].colour : null;
}

// The photograph with something laid over it; masks are shown at the photograph's size here.
// colourOf(i) gives the colour of pixel i of the image, or null; mask draws its boundaries.
function paint(canvas, image, photo, colourOf, mask) {
  const w = photo.naturalWidth, h = photo.naturalHeight;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(photo, 0, 0);
  if (!colourOf) return;
  const across = Int32Array.from({ length: w }, (_, x) => Math.floor((x + 0.5) * image.width / w));
  const down = Int32Array.from({ length: h }, (_, y) => Math.floor((y + 0.5) * image.height / h));
  const pixels = context.getImageData(0, 0, w, h), data = pixels.data;
  for (let y = 0, at = 0; y < h; y++) {
    const row = down[y] * image.width, below = down[Math.min(y + 1, h - 1)] * image.width;
    for (let x = 0; x < w; x++, at += 4) {
      const i = row + across[x];
      const next = row + across[Math.min(x + 1, w - 1)], under = below + across[x];
      const edge = mask && (mask[i] !== mask[next] || mask[i] !== mask[under]);
      const colour = edge ? [255, 255, 255] : colourOf(i);
      if (!colour) continue;
      for (let c = 0; c < 3; c++) data[at + c] += (colour[c] - data[at + c]) * 0.62;
    }
  }
  context.putImageData(pixels, 0, 0);
}

// Fill a card's tiles: photograph, each chosen evaluation, ground truth. As the slider moves, only
// the score maps are drawn anew.
async function draw(card, onlyScores = false) {
  const image = card.image, { photo, truth, layers } = await load(image), view = $("view").value;
  if (!card.isConnected) return;
  for (const figure of card.querySelectorAll(".tile")) {
    const which = figure.dataset.layer, canvas = figure.firstChild, caption = figure.lastChild;
    const layer = layers.get(Number(which));
    if (onlyScores && !layer?.full && figure.dataset.drawn) continue;
    figure.dataset.drawn = "yes";
    if (which === "photo") { paint(canvas, image, photo); continue; }
    if (which === "truth") { paint(canvas, image, photo, (i) => labelColour(truth[i]), truth); continue; }
    const evaluation = list().evaluations[which];
    const mask = layer.mask || thresholded(layer.full, limitsOf(evaluation));
    const miou = imageMiou(confusion(mask, truth));
    figure.dataset.miou = miou;
    caption.textContent = `${evaluation.name}: ${percent(miou)}`;
    if (view === "errors") paint(canvas, image, photo, (i) => errorColour(mask[i], truth[i]));
    else if (view === "scores" && layer.full) {
      paint(canvas, image, photo, (i) => scoreColour(layer.full.best[i]), mask);
    } else paint(canvas, image, photo, (i) => labelColour(mask[i]), mask);
  }
  for (const { firstChild: canvas, lastChild: caption } of card.querySelectorAll(".tile")) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${image.id}: ${caption.textContent}`);
  }
}

function fill(card) {
  const layers = card.image.layers.map((l) => l.evaluation).filter((e) => state.shown.has(e));
  const tiles = ["photo", ...layers, "truth"].map((which) => {
    const figure = tile(which === "truth" ? "ground truth" : which === "photo" ? "photograph" : "");
    figure.dataset.layer = which;
    return figure;
  });
  card.querySelector(".tiles").replaceChildren(...tiles);
}

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      visible.add(target);
      fill(target);
      draw(target);
    } else if (visible.delete(target)) release(target);
  }
}, { rootMargin: "300px" });

// --- the page -----------------------------------------------------------------------------------

function chosenImages() {
  const layerOf = (image) => image.layers.find((l) => l.evaluation === state.by);
  const holds = (image) => image.classes.includes(state.cls) || layerOf(image).predicted.includes(state.cls);
  const images = list().images.filter((image) => {
    const layer = layerOf(image);
    if (!layer) return false;
    if (state.cls >= 0 && !holds(image)) return false;
    return !state.error || layer.error === state.error;
  });
  const sign = state.order === "worst" ? 1 : -1;
  const key = (image) => sign * (layerOf(image).miou ?? sign * 2); // without a number: last
  if (state.order === "random") {
    let seed = state.shuffle;
    const next = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    return images.map((image) => [next(), image]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
  }
  return images.sort((a, b) => key(a) - key(b));
}

function showCards() {
  watcher.disconnect();
  visible.forEach(release);
  visible.clear();
  const images = chosenImages(), cards = images.map((image) => {
    const card = document.createElement("article"), head = document.createElement("h4");
    const classes = image.classes.map((c) => gallery.classes[c].name).join(", ");
    const layer = image.layers.find((l) => l.evaluation === state.by);
    card.className = "card";
    card.tabIndex = 0;
    card.image = image;
    card.setAttribute("role", "button");
    card.setAttribute("aria-label", `${image.id}: ${classes}`);
    head.append(image.id, document.createElement("span"));
    head.lastChild.textContent = layer.error ? `${classes} · mostly ${layer.error}` : classes;
    const tiles = document.createElement("div");
    tiles.className = "tiles";
    tiles.style.minHeight = "6rem";
    card.append(head, tiles);
    return card;
  });
  $("cards").replaceChildren(...cards);
  $("count").textContent = `${cards.length} of ${list().images.length} images`;
  cards.forEach((card) => watcher.observe(card));
}

// The mIoU of the whole list at the slider's place, from the sweep that Python made.
function showPooled() {
  const parts = list().evaluations.filter((e) => e.curve && state.shown.has(e.index)).map((e) => {
    if (state.live === null) return `${e.name} ${percent(e.miou)}`;
    const last = e.curve.length - 1, nearest = Math.round(state.live * last);
    const at = Math.abs(nearest / last - state.live) > 1e-6 ? ` (at ${(nearest / last).toFixed(2)})` : "";
    return `${e.name} ${percent(e.curve[nearest] ?? NaN)}${at}`;
  });
  $("pooled").textContent = parts.length ? `mIoU of all ${list().total} images: ${parts.join(", ")}` : "";
  $("level").textContent = state.live === null ? "as chosen" : state.live.toFixed(2);
}

let asked = null; // what the next frame draws: "scores", or "all"
function redraw(onlyScores = false) {
  showPooled();
  const before = asked;
  if (before !== "all") asked = onlyScores ? "scores" : "all";
  if (before) return;
  requestAnimationFrame(() => {
    onlyScores = asked === "scores";
    asked = null;
    const open = $("detail").open ? [$("detail").querySelector(".card")] : [];
    [...visible, ...open].forEach((card) => draw(card, onlyScores));
  });
}

function setThreshold(value) {
  state.live = Math.min(1, Math.max(0, Math.round(100 * value) / 100));
  $("threshold").value = state.live;
  redraw(true);
}

function option(value, text) {
  const one = document.createElement("option");
  one.value = value;
  one.textContent = text;
  return one;
}

function chooseList(index) {
  state.list = index;
  const { evaluations, note } = list();
  const byScores = evaluations.filter((e) => e.kind === "scores");
  const byMasks = evaluations.filter((e) => e.kind === "masks");
  const best = [...byScores].sort((a, b) => b.miou - a.miou)[0];
  state.shown = new Set([best, ...byMasks].filter(Boolean).map((e) => e.index));
  state.by = (byMasks[0] || best).index;
  state.cls = -1;
  state.error = "";
  $("note").textContent = note;
  $("by").replaceChildren(...evaluations.map((e) => option(e.index, e.name)));
  $("by").value = state.by;
  const boxes = evaluations.map((e) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = state.shown.has(e.index);
    box.addEventListener("change", () => {
      state.shown[box.checked ? "add" : "delete"](e.index);
      visible.forEach(fill);
      redraw();
    });
    label.append(box, e.name);
    return label;
  });
  $("shown").replaceChildren("show", ...boxes);
  $("class").replaceChildren(option(-1, "all classes"),
    ...gallery.classes.slice(1).map((c, i) => option(i + 1, c.name)));
  $("error").value = "";
  $("threshold").disabled = $("reset").disabled = !best;
  resetThreshold();
  showCards();
}

function resetThreshold() {
  state.live = null;
  const scores = list().evaluations.find((e) => e.kind === "scores" && state.shown.has(e.index));
  if (scores) $("threshold").value = scores.thresholds[0];
  redraw(true);
}

function openDetail(card) {
  const copy = document.createElement("article");
  copy.className = "card";
  copy.image = card.image;
  copy.origin = card;
  copy.append(card.querySelector("h4").cloneNode(true), document.createElement("div"));
  copy.lastChild.className = "tiles";
  $("detail-card").replaceChildren(copy);
  if (!$("detail").open) {
    $("detail").showModal();
    $("detail").addEventListener("close", () => {
      const shown = $("detail").querySelector(".card").origin;
      if (!visible.has(shown)) shown.image.loaded = null;
      shown.scrollIntoView({ block: "nearest" });
      shown.focus();
    }, { once: true });
  }
  fill(copy);
  draw(copy);
}

function step(card, by) {
  const cards = [...$("cards").children];
  return cards[cards.indexOf(card) + by];
}

function start() {
  $("lists").replaceChildren(...gallery.lists.map((l, i) => option(i, l.name)));
  $("lists").addEventListener("change", (e) => chooseList(Number(e.target.value)));
  for (const [id, key, as] of [["order", "order", String], ["by", "by", Number],
    ["class", "cls", Number], ["error", "error", String]]) {
    $(id).addEventListener("change", (e) => {
      state[key] = as(e.target.value);
      if (key === "order") state.shuffle++;
      showCards();
    });
  }
  $("view").addEventListener("change", () => redraw());
  $("threshold").addEventListener("input", (e) => setThreshold(Number(e.target.value)));
  $("reset").addEventListener("click", resetThreshold);
  $("cards").addEventListener("click", (e) => {
    const card = e.target.closest(".card");
    if (card) openDetail(card);
  });
  $("cards").addEventListener("keydown", (e) => {
    const card = e.target.closest(".card"), by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (by) {
      const next = step(card, by);
      next?.scrollIntoView({ block: "nearest" });
      next?.focus();
      e.preventDefault();
    }
    if (e.key === "Enter" || e.key === " ") { openDetail(card); e.preventDefault(); }
  });
  $("detail").addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!by || e.target.tagName === "INPUT") return;
    const next = step($("detail").querySelector(".card").origin, by);
    if (next) {
      const { image } = $("detail").querySelector(".card");
      if (!visible.has($("detail").querySelector(".card").origin)) image.loaded = null;
      openDetail(next);
    }
    e.preventDefault();
  });
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.target.tagName === "SELECT") return;
    if (e.key === "t" && !$("detail").open) $("threshold").focus();
    const by = { "[": -0.01, "]": 0.01 }[e.key];
    if (by && !$("threshold").disabled) setThreshold(Number($("threshold").value) + by);
  });
  chooseList(0);
}

const matrices = document.querySelectorAll(".matrix");
function showMatrix(index) {
  matrices.forEach((matrix) => { matrix.hidden = matrix.dataset.index !== index; });
}
if ($("matrix")) {
  $("matrix").addEventListener("change", (e) => showMatrix(e.target.value));
  showMatrix($("matrix").value);
}
$("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme || (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});
if (gallery.lists.length && "DecompressionStream" in window) start();
else if (gallery.lists.length) $("note").textContent = "This browser is too old for the gallery.";
