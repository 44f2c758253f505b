"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HANDLE = 12, TEXT = 15; // pixels of the screen
const MARGIN = 0.015; // around the photo, of its longer side: room for the corners of a box at its edge
const LEAST = 4; // pixels of the photo: a smaller drag draws no box
const NOTICE_MS = 6000;

const $ = id => document.getElementById(id);
const canvas = $("canvas");
let photos = [], labels = [], confidence = 0;
let at = 0; // the photo that is shown
let draft = null; // while fixing: its boxes as they are now
let chosen = -1; // the box of the draft that keys and buttons mean
let drag = null;
let busy = false;

if (location.search) history.replaceState(null, "", location.pathname); // the token stays in the cookie only

// --- what is there ------------------------------------------------------------------------------------------------------

const photo = () => photos[at];
const isSure = instance => Boolean(draft || photo().verdict) || instance.score >= confidence;
const percent = share => share === 1 ? "by hand" : `${Math.round(100 * share)} %`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

async function load() {
  const reply = await fetch("photos");
  if (!reply.ok) return tell("refused: open the address that the program printed when it was started");
  ({ photos, labels, confidence } = await reply.json());
  if (!photos.length) return tell("there is no photo");
  $("labels").replaceChildren(...labels.map((label, i) => button(label, () => setLabel(i), i < 9 ? `${i + 1}` : "")));
  const open = photos.findIndex(p => !p.verdict);
  show(open < 0 ? 0 : open);
}

async function judge(verdict) {
  if (busy || !photos.length) return;
  busy = true;
  const instances = draft && draft.map(({ label, box_xyxy }) => ({ label, box_xyxy }));
  const body = JSON.stringify({ name: photo().name, verdict, ...(verdict === "fixed" ? { instances } : {}) });
  try {
    const reply = await fetch("verdict", { method: "POST", body });
    if (!reply.ok) return tell(await reply.text());
    photos[at] = await reply.json();
    const order = [...photos.keys()].map(i => (at + 1 + i) % photos.length);
    show(order.find(i => !photos[i].verdict) ?? at);
    if (photos.every(p => p.verdict)) tell("all photos are reviewed");
  } catch {
    tell("the program has ended or cannot be reached: nothing was saved");
  } finally {
    busy = false;
  }
}

// --- what is shown ------------------------------------------------------------------------------------------------------

function show(index) {
  at = clamp(index, 0, photos.length - 1);
  draft = null;
  chosen = -1;
  drag = null;
  const [width, height] = photo().size_wh;
  const margin = MARGIN * Math.max(width, height);
  canvas.setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  const picture = make("image", { href: `photo?name=${encodeURIComponent(photo().name)}`, width, height, preserveAspectRatio: "none" });
  const ground = make("rect", { id: "ground", width, height, fill: "transparent" });
  canvas.replaceChildren(picture, ground, make("g", { id: "drawn" }));
  draw();
}

function draw() {
  const { name, verdict, size_wh } = photo();
  const boxes = draft || photo().instances;
  const reviewed = photos.filter(p => p.verdict).length;
  canvas.classList.toggle("fixing", Boolean(draft));
  canvas.classList.toggle("still", verdict === "rejected" && !draft);
  $("drawn").replaceChildren(...boxes.flatMap(drawBox), ...(draft && draft[chosen] ? handles(draft[chosen].box_xyxy) : []));
  $("bar").value = reviewed / photos.length;
  $("count").textContent = `${reviewed} of ${photos.length} reviewed`;
  $("name").textContent = name;
  $("place").textContent = `photo ${at + 1} of ${photos.length}, ${size_wh.join(" × ")} pixels`;
  $("verdict").textContent = draft ? "fixing" : verdict || "not reviewed";
  $("verdict").dataset.verdict = draft ? "fixed" : verdict;
  $("boxes").replaceChildren(...boxes.map(listBox));
  $("labels").hidden = !draft;
  for (const [i, element] of [...$("labels").children].entries()) {
    element.classList.toggle("on", Boolean(draft && draft[chosen] && draft[chosen].label === labels[i]));
  }
  $("keep").querySelector("span").textContent = draft ? "Cancel" : "Keep";
  $("keep").querySelector("kbd").textContent = draft ? "Esc" : "k";
  $("fix").querySelector("span").textContent = draft ? "Save" : "Fix";
  $("fix").classList.toggle("on", Boolean(draft));
  $("reject").disabled = Boolean(draft);
  $("hint").textContent = draft
    ? "Drag a box or its corners. Drag beside it to draw another one. Delete removes it, a number names it. f saves."
    : !boxes.length ? "Keep says that nothing is in the photo. Reject leaves the photo out."
    : boxes.every(isSure) ? "" : "Dashed: too unsure to be written unless it is kept.";
  $("before").disabled = at === 0;
  $("after").disabled = at === photos.length - 1;
}

function drawBox(instance, index) {
  const [x0, y0, x1, y1] = instance.box_xyxy;
  const state = `${isSure(instance) ? "" : " unsure"}${draft && index === chosen ? " chosen" : ""}`;
  const box = make("rect", { class: `box${state}`, x: x0, y: y0, width: x1 - x0, height: y1 - y0, "data-index": index });
  const unit = pixel(), high = TEXT * 1.45 * unit;
  const words = `${instance.label} ${percent(instance.score)}`;
  const top = y0 >= high ? y0 - high : y0;
  const text = make("text", { x: x0 + 6 * unit, y: top + TEXT * 1.1 * unit, "font-size": TEXT * unit });
  text.textContent = words;
  const plate = make("rect", { class: "plate", x: x0, y: top, width: (words.length * 0.6 * TEXT + 10) * unit, height: high });
  return [box, plate, text];
}

function handles([x0, y0, x1, y1]) {
  const side = HANDLE * pixel();
  return [[x0, y0, 0, 1], [x1, y0, 2, 1], [x0, y1, 0, 3], [x1, y1, 2, 3]].map(([x, y, alongX, alongY]) =>
    make("rect", { class: (alongX === 0) === (alongY === 1) ? "handle" : "handle rising", "data-x": alongX, "data-y": alongY,
                   x: x - side / 2, y: y - side / 2, width: side, height: side }));
}

function listBox(instance, index) {
  const line = document.createElement("li"), name = document.createElement("b"), score = document.createElement("span");
  name.textContent = instance.label;
  score.textContent = percent(instance.score);
  line.className = `${isSure(instance) ? "" : "unsure"}${draft && index === chosen ? " chosen" : ""}`;
  line.append(name, score);
  if (draft) {
    line.addEventListener("click", () => choose(index));
    line.append(button("delete", event => { event.stopPropagation(); remove(index); }));
  }
  return line;
}

// Pixels of the photo that one pixel of the screen covers.
function pixel() {
  return 1 / (canvas.getScreenCTM()?.a || 1);
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function button(words, press, key = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = words;
  if (key) element.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  element.addEventListener("click", press);
  return element;
}

let noticeTimer;
function tell(words) {
  $("notice").textContent = words;
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $("notice").hidden = true; }, NOTICE_MS);
}

// --- fixing -----------------------------------------------------------------------------------------------------------------

function beginFix() {
  if (draft || !photos.length) return;
  draft = photo().instances.map(instance => ({ ...instance, box_xyxy: [...instance.box_xyxy] }));
  chosen = draft.length ? 0 : -1;
  draw();
}

function cancelFix() {
  draft = null;
  draw();
}

function choose(index) {
  chosen = index;
  draw();
}

function remove(index) {
  draft.splice(index, 1);
  chosen = Math.min(chosen, draft.length - 1);
  draw();
}

function setLabel(index) {
  if (!draft || !draft[chosen] || !labels[index]) return;
  draft[chosen].label = labels[index];
  draw();
}

function position(event) {
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(canvas.getScreenCTM().inverse());
  return [x, y];
}

canvas.addEventListener("pointerdown", event => {
  if (event.button !== 0 || !photos.length) return;
  const { classList, dataset } = event.target;
  const [x, y] = position(event);
  if (classList.contains("box")) {
    beginFix();
    choose(Number(dataset.index));
    drag = { from: [x, y], box: [...draft[chosen].box_xyxy], sides: null };
  } else if (classList.contains("handle")) {
    drag = { from: [x, y], box: [...draft[chosen].box_xyxy], sides: [Number(dataset.x), Number(dataset.y)] };
  } else if (draft) {
    draft.push({ label: draft[chosen]?.label || labels[0], score: 1, box_xyxy: [x, y, x, y] });
    choose(draft.length - 1);
    drag = { from: [x, y], box: [x, y, x, y], sides: [2, 3] };
  }
  if (drag) canvas.setPointerCapture(event.pointerId);
});

canvas.addEventListener("pointermove", event => {
  if (!drag) return;
  const [x, y] = position(event), [width, height] = photo().size_wh;
  const box = [...drag.box];
  if (drag.sides) {
    box[drag.sides[0]] = clamp(box[drag.sides[0]] + x - drag.from[0], 0, width);
    box[drag.sides[1]] = clamp(box[drag.sides[1]] + y - drag.from[1], 0, height);
  } else {
    const dx = clamp(x - drag.from[0], -box[0], width - box[2]), dy = clamp(y - drag.from[1], -box[1], height - box[3]);
    [box[0], box[1], box[2], box[3]] = [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
  }
  const [x0, x1] = [box[0], box[2]].sort((a, b) => a - b), [y0, y1] = [box[1], box[3]].sort((a, b) => a - b);
  draft[chosen].box_xyxy = [x0, y0, x1, y1].map(Math.round);
  draft[chosen].score = 1;
  draw();
});

function drop() {
  if (!drag) return;
  drag = null;
  const [x0, y0, x1, y1] = draft[chosen].box_xyxy;
  if (x1 - x0 < LEAST || y1 - y0 < LEAST) remove(chosen);
}
canvas.addEventListener("pointerup", drop);
canvas.addEventListener("pointercancel", drop);

// --- buttons and keys -----------------------------------------------------------------------------------------------------

const keep = () => draft ? cancelFix() : judge("kept");
const fix = () => draft ? judge("fixed") : beginFix();
const reject = () => draft || judge("rejected");
const step = by => { if (!draft && photos.length) show(at + by); };
for (const [id, act] of Object.entries({ keep, fix, reject, before: () => step(-1), after: () => step(1) })) {
  $(id).addEventListener("click", act);
}

document.addEventListener("keydown", event => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !photos.length) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const acts = { k: () => draft || judge("kept"), f: fix, r: reject, ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
  if (draft) Object.assign(acts, { Escape: cancelFix, Delete: () => chosen >= 0 && remove(chosen),
                                   Backspace: () => chosen >= 0 && remove(chosen), Enter: fix });
  if (key in acts) {
    event.preventDefault();
    acts[key]();
  } else if (draft && /^[1-9]$/.test(key)) {
    setLabel(Number(key) - 1);
  }
});

addEventListener("resize", () => { if (photos.length) draw(); });
load();
