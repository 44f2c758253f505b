"use strict";

// The look of the overlay is that of draw.py, so that the page and the window show the same.
const STRONGEST_BLEND = 0.7;
const BOX_COLOUR = "rgb(255 220 0)";
const WINDOW_HEIGHT = 288; // pixels; what follows is given for an overlay of this height
const BOX_WIDTH = 2, TEXT_HEIGHT = 16, TEXT_MARGIN = 5;

const LONGEST_SIDE = 800; // pixels of the canvas, and so of snapshots and recordings
const HEAT_CELL = 24; // pixels a cell of the heat is enlarged to before the canvas smooths it
const RECORDED_PER_SECOND = 25;
const RECORDINGS = ["video/webm;codecs=vp8", "video/mp4", "video/webm"];
const ANSWER_MS = 15000; // the server answers within 10 s, if only to say that there is nothing new
const RETRY_MS = 1000;
const SURE_MS = 3000; // how long the button that ends the program waits for its second press

const $ = id => document.getElementById(id);
const canvas = $("canvas"), context = canvas.getContext("2d");
const heatCanvas = document.createElement("canvas"), heatContext = heatCanvas.getContext("2d");
const viewer = Math.random().toString(36).slice(2);
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
let recorder = null;

if (location.search) history.replaceState(null, "", location.pathname); // the token stays in the cookie only

// --- messages ---------------------------------------------------------------------------------------------------------

// One message: the header's length in four bytes, the header as JSON, the picture's bytes.
async function ask(after) {
  const aborter = new AbortController();
  const timer = setTimeout(() => aborter.abort(), ANSWER_MS);
  try {
    const reply = await fetch(`frame?after=${after}&viewer=${viewer}`, { signal: aborter.signal });
    if (reply.status !== 200) return { state: { 204: "waiting", 403: "refused", 503: "full" }[reply.status] || "gone" };
    const message = await reply.arrayBuffer();
    const length = new DataView(message).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length)));
    return { ...header, bytes: new Uint8Array(message, 4 + length) };
  } finally {
    clearTimeout(timer);
  }
}

async function follow() {
  let after = -1, state = "";
  for (;;) {
    if (document.hidden && !recorder) await new Promise(resolve => document.addEventListener("visibilitychange", resolve, { once: true }));
    let view;
    try {
      view = await ask(after);
      if (view.state === "live") await show(view);
    } catch {
      view = { state: state === "ended" ? "ended" : "gone" };
    }
    state = view.state;
    tell(state, view);
    if ("number" in view) after = view.number;
    if (!["live", "lost", "waiting"].includes(state)) await sleep(RETRY_MS);
  }
}

const press = key => fetch("key", { method: "POST", body: key }).catch(() => {}); // `follow` tells when nobody is there

// --- what is told ------------------------------------------------------------------------------------------------------

const NOTICES = {
  waiting: "waiting for a frame",
  lost: "camera lost, trying again",
  ended: "the program has ended",
  gone: "the program has ended or cannot be reached, trying again",
  full: "too many viewers, trying again",
  refused: "refused: open the address that the program printed when it was started",
};

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tell(state, view) {
  const live = state === "live";
  const notice = NOTICES[state] || "";
  setText($("state"), live ? "live" : notice.split(",")[0].split(":")[0]);
  $("state").dataset.state = state === "gone" ? "ended" : state;
  document.querySelector("main").classList.toggle("still", !live);
  $("notice").hidden = live;
  setText($("notice"), state === "lost" ? `${notice} (${view.seconds} s)` : notice);
  for (const id of ["switch", "quit"]) $(id).disabled = !["live", "lost"].includes(state);
  if ("celsius" in view) tellMachine(view);
  if (live) tellResult(view);
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

function decode({ picture, picture_wh: [width, height], bytes }) {
  if (picture === "jpeg") return createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  const pixels = new ImageData(width, height);
  for (let from = 0, to = 0; from < bytes.length; from += 3, to += 4) {
    pixels.data[to] = bytes[from];
    pixels.data[to + 1] = bytes[from + 1];
    pixels.data[to + 2] = bytes[from + 2];
    pixels.data[to + 3] = 255;
  }
  return createImageBitmap(pixels);
}

function sizeCanvas(width, height) {
  const scale = LONGEST_SIDE / Math.max(width, height);
  const size = [width, height].map(side => Math.max(2, 2 * Math.round(side * scale / 2))); // even, for videos
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
}

// Blue, cyan, yellow, red, as heat_colours in draw.py; the share of the colour grows with the heat from exactly 0.
const HEAT_RGBA = new Uint8ClampedArray(4 * 256);
for (let level = 0; level < 256; level++) {
  const x = level / 255;
  [3, 2, 1].forEach((middle, channel) => { HEAT_RGBA[4 * level + channel] = 255 * (1.5 - Math.abs(4 * x - middle)); });
  HEAT_RGBA[4 * level + 3] = 255 * STRONGEST_BLEND * x;
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
  link.download = `janken-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}.${suffix}`;
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

let sureUntil = 0;
$("quit").addEventListener("click", () => { // it ends the program for everyone, so a slip of the finger must not
  if (Date.now() < sureUntil) return press("q");
  sureUntil = Date.now() + SURE_MS;
  $("quit").classList.add("on");
  setText($("quit").firstChild, "Really end?");
  setTimeout(() => {
    $("quit").classList.remove("on");
    setText($("quit").firstChild, "End program");
  }, SURE_MS);
});

document.addEventListener("keydown", event => {
  const plain = !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey;
  if (plain && ["s", "q"].includes(event.key.toLowerCase())) press(event.key.toLowerCase());
});

follow();
