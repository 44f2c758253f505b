"use strict";

// The look of the overlay is that of draw.py, so that the page and the window show the same.
const STRONGEST_BLEND = 0.7, COLD_LEVEL = 26; // as in draw.py
const BOX_COLOUR = "rgb(255 220 0)";
const WINDOW_HEIGHT = 288; // pixels; what follows is given for an overlay of this height
const BOX_WIDTH = 2, TEXT_HEIGHT = 16, TEXT_MARGIN = 5;

const LONGEST_SIDE = 800; // pixels of the canvas, and so of snapshots and recordings
const HEAT_CELL = 24; // pixels a cell of the heat is enlarged to before the canvas smooths it
const RECORDED_PER_SECOND = 25;
const RECORDINGS = ["video/webm;codecs=vp8", "video/mp4", "video/webm"];

const canvas = $("canvas"), context = canvas.getContext("2d");
const heatCanvas = document.createElement("canvas"), heatContext = heatCanvas.getContext("2d");
let recorder = null;

// --- what is told ------------------------------------------------------------------------------------------------------

function tell(state, view) {
  $("switch").disabled = !isThere(state);
  if ("celsius" in view) tellMachine(view);
  if (state === "live") tellResult(view);
}

function tellMachine({ celsius, power, power_bad }) {
  $("celsius").parentElement.hidden = celsius === null;
  if (celsius !== null) setText($("celsius"), `${celsius.toFixed(1)} °C`);
  $("power").parentElement.hidden = power === null;
  setText($("power"), power || "");
  $("power").classList.toggle("warn", power_bad);
}

function tellResult({ label, score, scores, mode, fps, source }) {
  setText($("label"), label);
  setText($("score"), percent(score));
  setText($("fps"), fps ? `${fps.toFixed(1)} frames/s` : "–");
  setText($("source"), source);
  setText($("switch").firstChild, mode === "heatmap" ? "Show box" : "Show heat");
  canvas.setAttribute("aria-label", `the camera's picture with ${mode === "heatmap" ? "heat" : "a box"}`);
  const rows = scoreRows(Object.keys(scores));
  for (const [name, { title, bar, number }] of rows) {
    title.classList.toggle("winner", name === label);
    bar.value = scores[name];
    setText(number, percent(scores[name]));
  }
}

const percent = share => `${Math.round(100 * share)} %`;

let rows = new Map();
function scoreRows(names) {
  if (names.join() === [...rows.keys()].join()) return rows;
  rows = new Map();
  $("scores").replaceChildren();
  for (const name of names) {
    const title = document.createElement("span"), bar = document.createElement("progress"), number = document.createElement("span");
    title.textContent = name;
    bar.setAttribute("aria-label", name);
    $("scores").append(title, bar, number);
    rows.set(name, { title, bar, number });
  }
  return rows;
}

// --- the picture --------------------------------------------------------------------------------------------------------

async function show(view) {
  const picture = await decode(view);
  const [width, height] = view.size_wh;
  if (!recorder) sizeCanvas(width, height); // a recording keeps its size: what has another shape is fitted in
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const left = (canvas.width - scale * width) / 2, top = (canvas.height - scale * height) / 2;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "black";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, left, top); // from here on in pixels of the frame
  context.drawImage(picture, 0, 0, width, height);
  picture.close();
  const unit = height / WINDOW_HEIGHT;
  if (view.mode === "heatmap") drawHeat(view.heat, width, height);
  else if (view.box_xyxy) drawBox(view.box_xyxy, BOX_WIDTH * unit);
  drawLabel(`${view.label} ${view.score.toFixed(2)}`, unit);
}

function sizeCanvas(width, height) {
  const scale = LONGEST_SIDE / Math.max(width, height);
  const size = [width, height].map(side => Math.max(2, 2 * Math.round(side * scale / 2))); // even, for videos
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
}

// Blue, cyan, yellow, red, as heat_colours in draw.py; the share of the colour grows with the heat, from 0 at COLD_LEVEL.
const HEAT_RGBA = new Uint8ClampedArray(4 * 256);
for (let level = 0; level < 256; level++) {
  const x = level / 255;
  [3, 2, 1].forEach((middle, channel) => { HEAT_RGBA[4 * level + channel] = 255 * (1.5 - Math.abs(4 * x - middle)); });
  HEAT_RGBA[4 * level + 3] = 255 * STRONGEST_BLEND * Math.max(0, level - COLD_LEVEL) / (255 - COLD_LEVEL);
}

// For each target pixel: the cell before it, the cell after it, and the share of the latter. Half-pixel centres.
function bilinear(target, source) {
  return Array.from({ length: target }, (_, i) => {
    const position = Math.min(Math.max((i + 0.5) * source / target - 0.5, 0), source - 1);
    const before = Math.floor(position);
    return [before, Math.min(before + 1, source - 1), position - before];
  });
}

let tables = {};
function drawHeat(heat, width, height) {
  const rows = heat.length, columns = heat[0].length;
  if (tables.rows !== rows || tables.columns !== columns) {
    heatCanvas.width = columns * HEAT_CELL;
    heatCanvas.height = rows * HEAT_CELL;
    tables = { rows, columns, x: bilinear(heatCanvas.width, columns), y: bilinear(heatCanvas.height, rows),
               image: heatContext.createImageData(heatCanvas.width, heatCanvas.height) };
  }
  const { data } = tables.image;
  let to = 0;
  for (const [above, below, yShare] of tables.y) {
    const row = heat[above].map((value, i) => value + yShare * (heat[below][i] - value));
    for (const [before, after, xShare] of tables.x) {
      const level = Math.min(255, Math.round(row[before] + xShare * (row[after] - row[before]))); // above 255: full heat
      for (let channel = 0; channel < 4; channel++) data[to++] = HEAT_RGBA[4 * level + channel];
    }
  }
  heatContext.putImageData(tables.image, 0, 0);
  context.drawImage(heatCanvas, 0, 0, width, height);
}

function drawBox([x0, y0, x1, y1], line) {
  context.strokeStyle = BOX_COLOUR;
  context.lineWidth = line;
  context.strokeRect(x0 + line / 2, y0 + line / 2, x1 - x0 - line, y1 - y0 - line);
}

function drawLabel(text, unit) {
  context.font = `600 ${TEXT_HEIGHT * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const margin = TEXT_MARGIN * unit, plateHeight = TEXT_HEIGHT * unit + 2 * margin;
  context.fillStyle = "black";
  context.fillRect(0, 0, context.measureText(text).width + 2 * margin, plateHeight);
  context.fillStyle = "white";
  context.fillText(text, margin, plateHeight / 2);
}

// --- buttons and keys -----------------------------------------------------------------------------------------------------

function download(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${$("name").textContent}-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

$("snapshot").addEventListener("click", () => canvas.toBlob(blob => download(blob, "png")));

// The browser records its own canvas: the device has nothing to do with it.
const recording = canvas.captureStream && window.MediaRecorder && RECORDINGS.find(type => MediaRecorder.isTypeSupported(type));
$("record").hidden = !recording;
$("record").addEventListener("click", () => {
  if (recorder) return recorder.stop();
  const parts = [];
  const began = Date.now();
  const count = () => setText($("record"), `Stop ${Math.round((Date.now() - began) / 1000)} s`);
  const counter = setInterval(count, 500);
  recorder = new MediaRecorder(canvas.captureStream(RECORDED_PER_SECOND), { mimeType: recording });
  recorder.ondataavailable = event => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(counter);
    recorder = null;
    setText($("record"), "Record");
    $("record").classList.remove("on");
    download(new Blob(parts, { type: recording }), recording.includes("mp4") ? "mp4" : "webm");
  };
  recorder.start(1000);
  $("record").classList.add("on");
  count();
});

$("switch").addEventListener("click", () => press("s"));

takeKeys(() => "sq");
follow(show, tell, () => recorder !== null);
