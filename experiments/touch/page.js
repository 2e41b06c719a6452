"use strict";
// Shows what the server makes of a state. A state is small and says everything: the history is a
// list of states, and a link is one of them.
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const png = (data) => (data ? `data:image/png;base64,${data}` : "data:,");
const seed = () => Math.floor(Math.random() * 2 ** 32);

let about; // what there is
let states = []; // the history
let place = 0; // in it
let shown; // what the server said of the state that is shown
let selected = 0; // slot
let pointed = null; // slot
let hand = null; // {state, slot}
let beside = null; // another model
let numSliders = 9;
const queue = []; // what is still to be done, in order
let working = false;

const current = () => states[place];
const run = () => about.runs[current().start.run];
const say = (text, bad = false) => {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
};
const saying = (work) => work.catch((error) => say(error.message, true));

const ask = async (name, wish = {}) => {
  const token = new URLSearchParams(location.search).get("token");
  const body = wish instanceof Blob ? wish : JSON.stringify(wish);
  const answer = await fetch(name, { method: "POST", headers: token ? { "X-Token": token } : {}, body }).catch(() => {
    throw new Error("The program does not answer: was it ended?");
  });
  if (answer.ok) return name === "save" ? answer.blob() : answer.json();
  throw new Error((await answer.json().catch(() => ({}))).error ?? "Something went wrong: see the terminal.");
};

// Of the events of one drag only the newest waits; all else is done in order.
const todo = async (item) => {
  if (item.drag && queue.at(-1)?.drag === item.drag) queue.pop();
  queue.push(item);
  if (working) return;
  working = true;
  while (queue.length) await saying(one(queue.shift()));
  working = false;
};
const edit = (edit, more = {}) => todo({ edit, ...more }); // or what gives it, when its turn has come
const begin = (start, words) => todo({ start: { run: current().start.run, ...start }, words });

const one = async ({ edit: given, drag, start, step = 0, last, words }) => {
  if (!states[place + step]) return;
  if (drag) drag.base ??= current(); // a drag is one edit
  const edit = typeof given === "function" ? given() : given;
  const state = start ? { start, edits: [] } : (drag?.base ?? states[place + step]);
  const answer = await ask("picture", edit ? { state, edit } : { state }).catch((error) => {
    if (shown || start) throw error;
    begin({ run: 0, image: about.first }, error.message);
  });
  if (!answer) return;
  place += step;
  if (drag?.begun) states[place] = answer.state;
  else if (edit || start) states = [...states.slice(0, ++place), answer.state];
  if (drag) drag.begun = true;
  const fresh = start || !shown;
  shown = answer;
  selected = fresh ? mostObvious() : last ? shown.slots.length - 1 : Math.min(selected, shown.slots.length - 1);
  show();
  const used = shown.slots.filter((one) => one.share > 0.005).length;
  if (drag) return; // browsers take a few addresses a second
  history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify({ ...current(), beside }))}`);
  say(words ?? (start && run().slots ? `${used} of ${shown.slots.length} slots are in use.` : ""));
  await compare();
};
// What is not the background, most likely.
const mostObvious = () => shown.slots.map(({ share }, i) => [share, i]).sort(([a], [b]) => b - a)[Math.min(1, shown.slots.length - 1)][1];

// A link.
const restore = () => {
  let state = { start: { run: 0, image: about.first }, edits: [] };
  let words;
  try {
    if (location.hash) ({ beside, ...state } = JSON.parse(decodeURIComponent(location.hash.slice(1))));
    if (!about.runs[state.start.run]) throw new Error();
    states = state.edits.map((_, i) => ({ ...state, edits: state.edits.slice(0, i) }));
  } catch {
    words = "This link does not describe a scene.";
    state = { start: { run: 0, image: about.first }, edits: [] };
    states = [];
  }
  place = states.push(state) - 1;
  todo({ words });
};

// Pictures that answer to the pointer.
const TITLES = { input: "Image", picture: "Reconstruction", segments: "Segmentation" };
const NS = "http://www.w3.org/2000/svg";
const newPanel = () => {
  const view = make("div", { className: "view" }, make("img"), document.createElementNS(NS, "svg"));
  return make("figure", {}, view, make("figcaption", {}, make("b"), " ", make("span")));
};
const fill = (element, answer, stage) => {
  if (!element.children.length) element.append(...Object.keys(TITLES).map(newPanel));
  const { start, edits } = answer.state;
  const middle = edits.length ? "Your scene" : start.draw === undefined ? "Reconstruction" : "A scene from the prior";
  const error = answer.mse === undefined ? "" : `mean squared error ${answer.mse.toPrecision(2)}`;
  Object.entries(TITLES).forEach(([key, title], i) => {
    const figure = element.children[i];
    figure.hidden = !answer[key] || (key === "segments" && !stage.slots);
    figure.querySelector("img").src = png(answer[key]);
    figure.querySelector("img").alt = title;
    figure.querySelector("svg").setAttribute("viewBox", `0 0 ${stage.size} ${stage.size}`);
    figure.querySelector("b").textContent = i === 1 ? middle : title;
    figure.querySelector("span").textContent = ["", error, "a colour for each slot"][i];
  });
};
const compare = async () => {
  const stage = about.runs[beside];
  $("other").hidden = !stage || beside === current().start.run;
  if ($("other").hidden) return;
  const start = { ...current().start, run: beside, slots: undefined };
  fill($("other"), await ask("picture", { state: { start, edits: [] } }), stage);
  $("other").ariaLabel = stage.name;
};
const outline = (slot) => {
  const { size } = run();
  const own = (x, y) => x >= 0 && y >= 0 && x < size && y < size && shown.ids[y * size + x] === slot;
  let path = "";
  shown.ids.forEach((id, i) => {
    const [x, y] = [i % size, Math.floor(i / size)];
    if (id !== slot) return;
    if (!own(x - 1, y)) path += `M${x} ${y}v1`;
    if (!own(x + 1, y)) path += `M${x + 1} ${y}v1`;
    if (!own(x, y - 1)) path += `M${x} ${y}h1`;
    if (!own(x, y + 1)) path += `M${x} ${y + 1}h1`;
  });
  return path;
};
const mark = () => {
  const slots = run().slots ? [...new Set([selected, pointed])].filter((slot) => slot !== null) : [];
  const paths = slots.flatMap((slot) => ["halo", slot === selected ? "line" : "pointed"].map((name) => [outline(slot), name]));
  all("#panels svg").forEach((svg) => {
    svg.replaceChildren(...paths.map(([d, name]) => {
      const path = document.createElementNS(NS, "path");
      path.setAttribute("d", d);
      path.setAttribute("class", name);
      return path;
    }));
  });
  [...$("tiles").children].forEach((tile, slot) => tile.classList.toggle("pointed", slot === pointed));
};
const slotAt = (event) => {
  const view = event.target.closest(".view");
  if (!view || !run().slots) return null;
  const { x, y, width } = view.getBoundingClientRect();
  const pixel = (z) => Math.min(run().size - 1, Math.max(0, Math.floor((z / width) * run().size)));
  return shown.ids[pixel(event.clientY - y) * run().size + pixel(event.clientX - x)];
};
const point = (slot) => {
  if (slot === pointed) return;
  pointed = slot;
  mark();
};
const select = (slot) => {
  selected = slot ?? selected;
  show();
};

// All that is shown of a state.
const colour = (slot) => `rgb(${about.palette[slot % about.palette.length]})`;
const marked = (how) => shown.slots.flatMap((slot, i) => (slot[how] ? [i] : []));
const isAlone = (slot) => shown.slots.length > 1 && !shown.slots[slot].hidden && marked("hidden").length === shown.slots.length - 1;
const show = () => {
  document.body.classList.toggle("slots", run().slots);
  fill($("panels"), shown, run());
  [...$("images").children].forEach((button, i) => (button.ariaPressed = String(current().start.image === i)));
  showTiles();
  showActions();
  showSliders();
  mark();
};
const newTile = (i) => {
  const pair = make("div", { className: "pair" }, make("img", { alt: "" }), make("img", { alt: "" }), "mask", make("div", { textContent: "appearance" }));
  const tile = make("button", { onclick: () => select(i), onpointerenter: () => point(i), onpointerleave: () => point(null) },
    make("img", { alt: "" }), pair, make("span"), make("span", { className: "state" }));
  tile.style.setProperty("--colour", colour(i));
  return tile;
};
const showTiles = () => {
  const tiles = $("tiles");
  while (tiles.children.length > shown.slots.length) tiles.lastChild.remove();
  shown.slots.forEach((slot, i) => {
    const tile = tiles.children[i] ?? tiles.appendChild(newTile(i));
    ["masked", "mask", "appearance"].forEach((name, k) => (tile.querySelectorAll("img")[k].src = png(slot[name])));
    const words = [slot.share < 0.005 && "not in use", slot.hidden && "hidden", slot.out && "taken out", slot.locked && "locked", slot.put && "put in"];
    const [title, state] = tile.querySelectorAll("span");
    title.textContent = `Slot ${i + 1}: ${(100 * slot.share).toFixed(1)}% of pixels, ${slot.nats === null ? "drawn" : `KL ${slot.nats.toFixed(1)} nats`}`;
    state.textContent = words.filter(Boolean).join(", ");
    tile.classList.toggle("off", slot.hidden || slot.out);
    tile.ariaPressed = String(i === selected);
  });
};
const showActions = () => {
  const slot = shown.slots[selected];
  const button = (name) => document.querySelector(`[data-do=${name}]`);
  $("title").textContent = run().slots ? `Slot ${selected + 1}` : "The image";
  document.querySelector(".chosen").style.setProperty("--colour", run().slots ? colour(selected) : "var(--link)");
  ["hidden", "out", "locked"].forEach((how) => (button(how).ariaPressed = String(slot[how])));
  button("solo").ariaPressed = String(isAlone(selected));
  const absent = { scene: !run().draws, draw: !slot.can_draw, rest: !shown.slots.every((one) => one.can_draw),
    add: !run().draws || run().counts.length < 2, swap: hand?.state.start.run !== current().start.run };
  const idle = { undo: !place, redo: place === states.length - 1, show: !marked("hidden").length, add: !shown.can_add,
    rest: shown.slots.every((one) => one.locked) };
  Object.entries(absent).forEach(([name, is]) => (button(name).hidden = is));
  Object.entries(idle).forEach(([name, is]) => (button(name).disabled = is));
  $("hand").hidden = !hand;
  $("run").value = current().start.run;
  $("beside").value = beside ?? "";
};

// Sliders; they stay while one of them is dragged.
const showSliders = () => {
  const slot = shown.slots[selected];
  const dims = run().dims.filter(([name]) => !(slot.is_rest && name === "mask"));
  document.querySelector("[data-do=more]").hidden = numSliders >= dims.length;
  $("hint").textContent = `The numbers that describe ${run().slots ? "this slot" : "the image"}, those first that say most (in nats), to be moved by standard deviations of the prior.` +
    (slot.is_rest ? " This slot takes what the others leave: none of them moves its mask." : "");
  const key = JSON.stringify([selected, current().start, dims.length, numSliders]);
  if ($("sliders").dataset.key !== key) $("sliders").replaceChildren(...dims.slice(0, numSliders).map(newSlider));
  $("sliders").dataset.key = key;
  [...$("sliders").children].forEach((element, i) => {
    const [input, output] = [element.querySelector("input"), element.querySelector("output")];
    if (!input.drag) input.value = slot.moves.find(([name, dim]) => name === dims[i][0] && dim === dims[i][1])?.[2] ?? 0;
    output.textContent = Number(input.value).toFixed(1);
  });
};
const newSlider = ([latent, dim, nats], i) => {
  const slot = selected;
  const input = make("input", { type: "range", min: -3, max: 3, step: 0.1, value: 0, id: `slider-${i}` });
  const output = make("output");
  const strip = make("div", { className: "strip", hidden: true });
  const what = make("button", { textContent: "What does it do?", ariaExpanded: "false" });
  input.oninput = () => {
    output.textContent = Number(input.value).toFixed(1);
    edit(["move", slot, latent, dim, Number(input.value)], { drag: (input.drag ??= {}) });
  };
  input.onchange = () => {
    input.drag = undefined;
    todo({});
  };
  const step = (by, image) => make("button", { onclick: () => edit(["move", slot, latent, dim, by]), ariaLabel: `move by ${by}` }, make("img", { src: png(image), alt: "" }), String(by));
  what.onclick = () => saying((async () => {
    strip.hidden = !strip.hidden;
    what.ariaExpanded = String(!strip.hidden);
    if (strip.hidden) return;
    const images = await ask("strip", { state: current(), slot, latent, dim });
    strip.replaceChildren(...images.map((image, k) => step(about.steps[k], image)));
  })());
  return make("div", { className: "slider" }, make("label", { htmlFor: input.id, textContent: `${latent} ${dim}, ${nats.toFixed(2)} nats` }), what, input, output, strip);
};

// What one can do.
const toggle = (how, slot = selected) =>
  edit(() => ["mark", how, shown.slots[slot][how] ? marked(how).filter((i) => i !== slot) : [...marked(how), slot]]);
const solo = (slot = selected) => edit(() => ["mark", "hidden", isAlone(slot) ? [] : [...shown.slots.keys()].filter((i) => i !== slot)]);
const acts = {
  hidden: () => toggle("hidden"),
  out: () => toggle("out"),
  locked: () => toggle("locked"),
  solo: () => solo(),
  show: () => edit(["mark", "hidden", []]),
  draw: () => edit(["draw", selected, seed()]),
  rest: () => edit(["draw_rest", seed()]),
  add: () => edit(["add", seed()], { last: true }),
  copy: () => edit(["copy", selected], { last: true, words: "The copy lies in front: move a number to tell them apart." }),
  put: () => edit(["put", hand.state, hand.slot], { last: true }),
  swap: () => edit(["swap", selected, hand.state, hand.slot]),
  undo: () => todo({ step: -1 }),
  redo: () => todo({ step: 1 }),
  scene: () => begin({ draw: seed(), ...(run().slots ? { slots: Number($("count").value) } : {}) }),
  take: () => {
    hand = { state: current(), slot: selected };
    $("hand").querySelector("img").src = png(shown.slots[selected].masked);
    showActions();
    say("Now choose another image, and put it in.");
  },
  more: () => {
    numSliders += 18;
    showSliders();
  },
  link: async () => {
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    say(copied ? "The link is copied: it restores exactly this." : "The address of this page is the link: copy it from above.");
  },
};
const upload = async (file) => {
  if (!file) return;
  const { png } = await ask("upload", file);
  begin({ png }, `Your image: its central square, resized to ${run().size}x${run().size} (${run().resize}), the size in training.`);
};
const save = async (what) => {
  const link = make("a", { href: URL.createObjectURL(await ask("save", { state: current(), what })), download: what });
  link.click();
  URL.revokeObjectURL(link.href);
  say(`Saved ${what}.`);
};
const press = (event) => {
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && "zy".includes(key)) {
    event.preventDefault();
    todo({ step: key === "y" || event.shiftKey ? 1 : -1 });
  } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.target.matches("input, select")) {
    if (key >= "1" && key <= "9" && shown.slots[key - 1]) select(key - 1);
    const button = all("[data-do]").find(({ title }) => title.toLowerCase() === key);
    if (button?.offsetParent) button.click();
  }
};
const listen = () => {
  $("panels").addEventListener("pointermove", (event) => point(slotAt(event)));
  $("panels").addEventListener("pointerleave", () => point(null));
  $("panels").addEventListener("click", (event) => select(slotAt(event)));
  all("[data-do]").forEach((button) => (button.onclick = acts[button.dataset.do]));
  all("[data-save]").forEach((button) => (button.onclick = () => saying(save(button.dataset.save))));
  $("file").onchange = () => saying(upload($("file").files[0]));
  $("run").onchange = () => begin({ ...current().start, slots: undefined, run: Number($("run").value) });
  $("beside").onchange = () => {
    beside = $("beside").value === "" ? null : Number($("beside").value);
    todo({});
  };
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    saying(upload(event.dataTransfer.files[0]));
  });
  document.addEventListener("keydown", press);
  window.addEventListener("hashchange", () => location.reload());
};

saying((async () => {
  about = await ask("about");
  const option = (value, textContent) => make("option", { value, textContent });
  const thumbnail = (image, i) => make("button", { ariaLabel: `test image ${i + 1}`, onclick: () => begin({ image: i }) }, make("img", { src: png(image), alt: "" }));
  $("images").append(...about.images.map(thumbnail));
  $("run").append(...about.runs.map(({ name }, i) => option(i, name)));
  $("beside").append(option("", "nothing"), ...about.runs.map(({ name }, i) => option(i, name)));
  $("count").append(...about.runs[0].counts.map((count) => option(count, count)));
  all(".models").forEach((label) => (label.hidden = about.runs.length < 2));
  listen();
  restore();
})());
