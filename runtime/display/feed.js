"use strict";

// What every page shares: messages from the program, keys back, and telling whether it is there.

const ANSWER_MS = 15000; // the server answers within 10 s, if only to say that there is nothing new
const RETRY_MS = 1000;
const SURE_MS = 3000; // how long the button that ends the program waits for its second press

const $ = id => document.getElementById(id);
const viewer = Math.random().toString(36).slice(2);
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

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

// Ask for one message after the other: `show` each picture, `tell` each state; not while the page is hidden, unless `awake()`.
async function follow(show, tell, awake = () => false) {
  let after = -1, state = "";
  for (;;) {
    if (document.hidden && !awake()) await new Promise(resolve => document.addEventListener("visibilitychange", resolve, { once: true }));
    let view;
    try {
      view = await ask(after);
      if (view.state === "live") await show(view);
    } catch {
      view = { state: state === "ended" ? "ended" : "gone" };
    }
    state = view.state;
    tellState(state, view);
    tell(state, view);
    if ("number" in view) after = view.number;
    if (!["live", "lost", "waiting"].includes(state)) await sleep(RETRY_MS);
  }
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

const press = key => fetch("key", { method: "POST", body: key }).catch(() => {}); // `follow` tells when nobody is there

// `keys()`: the keys that mean something now, as one string.
function takeKeys(keys) {
  document.addEventListener("keydown", event => {
    const plain = !event.repeat && !event.ctrlKey && !event.metaKey && !event.altKey;
    const key = [event.key, event.key.toLowerCase()].find(key => key.length === 1 && keys().includes(key)); // caps lock
    if (plain && key) press(key);
  });
}

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

const isThere = state => ["live", "lost"].includes(state);

function tellState(state, view) {
  const live = state === "live";
  const notice = NOTICES[state] || "";
  setText($("state"), live ? "live" : notice.split(",")[0].split(":")[0]);
  $("state").dataset.state = state === "gone" ? "ended" : state;
  document.querySelector("main").classList.toggle("still", !live);
  $("notice").hidden = live;
  setText($("notice"), state === "lost" ? `${notice} (${view.seconds} s)` : notice);
  $("quit").disabled = !isThere(state);
}

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
