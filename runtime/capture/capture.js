"use strict";

const LONGEST_SIDE = 800; // pixels of the canvas

const canvas = $("canvas"), context = canvas.getContext("2d");
let names = "", keys = "q", buttons = [], added = 0;

async function show(view) {
  const picture = await decode(view);
  const [width, height] = view.size_wh;
  const scale = LONGEST_SIDE / Math.max(width, height);
  const size = [width, height].map(side => Math.max(1, Math.round(side * scale)));
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  context.drawImage(picture, 0, 0, ...size);
  picture.close();
}

function tell(state, view) {
  for (const { button } of buttons) button.disabled = state !== "live";
  if (state !== "live") return;
  if (view.classes.map(({ name }) => name).join("/") !== names) layOut(view.classes);
  view.classes.forEach(({ name, count, few }, i) => {
    const { button, number } = buttons[i];
    setText(number, String(count));
    button.classList.toggle("few", few);
    button.classList.toggle("last", name === view.last);
  });
  if (view.added === added) return;
  added = view.added;
  setText($("taken"), added ? `${added} taken, the last of ${view.last}` : "no photo taken yet");
  flash();
}

function layOut(classes) {
  names = classes.map(({ name }) => name).join("/"); // which no name holds
  keys = classes.map(({ key }) => key).join("") + "q";
  buttons = classes.map(({ key, name }) => {
    const button = document.createElement("button"), title = document.createElement("span");
    const number = document.createElement("b"), hint = document.createElement("kbd");
    button.type = "button";
    title.textContent = name;
    hint.textContent = key;
    button.append(title, number, hint);
    button.addEventListener("click", () => press(key));
    return { button, number };
  });
  $("classes").replaceChildren(...buttons.map(({ button }) => button));
}

function flash() {
  $("view").classList.remove("taken");
  void $("view").offsetWidth; // so that the animation begins anew
  $("view").classList.add("taken");
}

takeKeys(() => keys);
follow(show, tell);
