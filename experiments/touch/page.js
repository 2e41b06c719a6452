"use strict";
// Shows what the server makes of a state. A state is small and says everything: the history is a list
// of them, a link is one of them.
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const png = (data) => (data ? `data:image/png;base64,${data}` : "");
const seed = () => Math.floor(Math.random() * 2 ** 32);
const FIRST = 8; // numbers with a slider, until more are asked for

let about; // what there is
let states = []; // the history
let place = -1; // in it
let shown; // what the server said of the state that is shown
let selected = 0; // slot
let pointed = null; // slot
let hand = null; // {state, slot}
let beside = null; // another model
let sliders = FIRST;
const queue = []; // what is still to be done, in order
let working = false;

const current = () => states[place];
const run = () => about.runs[current().start.run];

const say = (text, bad = false) => {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
};

const ask = async (name, wish) => {
  const token = new URLSearchParams(location.search).get("token");
  let answer;
  try {
    answer = await fetch(name, { method: "POST", headers: token ? { "X-Token": token } : {}, body: wish instanceof Blob ? wish : JSON.stringify(wish) });
  } catch {
    throw new Error("The program does not answer: was it ended?");
  }
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error ?? "Something went wrong: see the terminal.");
};
const asked = async (name, wish) => (await ask(name, wish)).json();

// Of the events of one drag only the newest waits; all else is done in order.
const todo = (item) => {
  if (item.drag && queue.at(-1)?.drag === item.drag) queue.pop();
  queue.push(item);
  if (!working) work();
};

const work = async () => {
  working = true;
  while (queue.length) {
    const item = queue.shift();
    try {
      await one(item);
    } catch (error) {
      say(error.message, true);
      if (shown) show();
    }
  }
  working = false;
};

const one = async ({ edit, drag, start, step, slot, words }) => {
  let wish = { state: current() };
  if (start) wish = { state: { start, edits: [] } };
  if (step) wish = { state: states[place + step] };
  if (edit) wish = { state: drag ? (drag.base ??= current()) : current(), edit };
  if (!wish.state) return;
  const answer = await asked("picture", wish);
  if (step) place += step;
  else if (drag?.begun) states[place] = answer.state;
  else if (edit || start) {
    states = [...states.slice(0, ++place), answer.state];
    if (drag) drag.begun = true;
  }
  shown = answer;
  if (slot !== undefined) selected = slot;
  show();
  if (!drag) say(words ?? "");
  await compare();
};
const edit = (edit, more = {}) => todo({ edit, ...more });

// A link.
const remember = () => history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify({ ...current(), beside }))}`);
const restore = () => {
  let state = { start: { run: 0, image: 0 }, edits: [] };
  try {
    if (location.hash) ({ beside = null, ...state } = JSON.parse(decodeURIComponent(location.hash.slice(1))));
    states = [...state.edits.map((_, i) => ({ ...state, edits: state.edits.slice(0, i) })), state];
  } catch {
    states = [{ start: { run: 0, image: 0 }, edits: [] }];
    say("This link does not describe a scene.", true);
  }
  place = states.length - 1;
  todo({});
};

// Pictures that answer to the pointer.
const outline = (ids, slot) => {
  const size = Math.sqrt(ids.length);
  const own = (x, y) => x >= 0 && y >= 0 && x < size && y < size && ids[y * size + x] === slot;
  let path = "";
  ids.forEach((id, i) => {
    if (id !== slot) return;
    const [x, y] = [i % size, Math.floor(i / size)];
    if (!own(x - 1, y)) path += `M${x} ${y}v1`;
    if (!own(x + 1, y)) path += `M${x + 1} ${y}v1`;
    if (!own(x, y - 1)) path += `M${x} ${y}h1`;
    if (!own(x, y + 1)) path += `M${x} ${y + 1}h1`;
  });
  return path;
};
const shape = (svg, path, name) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", "path");
  element.setAttribute("d", path);
  element.setAttribute("class", name);
  svg.append(element);
};
const mark = () => {
  all("#panels svg").forEach((svg) => {
    svg.replaceChildren();
    if (!run().slots) return;
    [selected, pointed].forEach((slot, i) => {
      if (slot === null || (i && slot === selected)) return;
      const path = outline(shown.ids, slot);
      shape(svg, path, "halo");
      shape(svg, path, i ? "pointed" : "");
    });
  });
  all("#tiles button").forEach((tile, slot) => tile.classList.toggle("pointed", slot === pointed));
};
const slotAt = (event, view) => {
  const box = view.getBoundingClientRect();
  const size = Math.sqrt(shown.ids.length);
  const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height].map((z) => Math.min(size - 1, Math.max(0, Math.floor(z * size))));
  return shown.ids[y * size + x];
};
const point = (slot) => {
  if (slot === pointed || !shown) return;
  pointed = slot;
  mark();
};
const select = (slot) => {
  selected = slot;
  show();
};
const panel = (answer, name, title, note) => {
  const view = make("div", { className: "view", id: name });
  view.append(make("img", { src: png(answer[name]), alt: title }));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const size = Math.sqrt(answer.ids.length);
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  view.append(svg);
  return make("figure", {}, view, make("figcaption", {}, make("b", { textContent: title }), ` ${note}`));
};
const panels = (answer, stage) => {
  const error = answer.mse === undefined ? "" : `, error ${answer.mse.toPrecision(2)}`;
  const drawn = answer.state.start.draw !== undefined;
  const change = answer.state.edits.length ? "Your scene" : drawn ? "A scene from the prior" : "Reconstruction";
  const made = [];
  if (answer.input) made.push(panel(answer, "input", "Image", "as the model sees it"));
  made.push(panel(answer, "picture", change, `all slots together${error}`));
  if (stage.slots) made.push(panel(answer, "segments", "Segmentation", "which slot a pixel belongs to"));
  if (!stage.slots) made.at(-1).querySelector("figcaption").lastChild.data = error.slice(1);
  return made;
};
const compare = async () => {
  $("other").hidden = beside === null || beside === current().start.run;
  if ($("other").hidden) return;
  const { slots, ...start } = current().start;
  const answer = await asked("picture", { state: { start: { ...start, run: beside }, edits: [] } });
  $("other").replaceChildren(...panels(answer, about.runs[beside]));
  all("#other figcaption b").forEach((title) => title.prepend(`${about.runs[beside].name.split(" ")[0]}: `));
  all("#other .view").forEach((view) => view.removeAttribute("id"));
};

// All that is shown of a state.
const colour = (slot) => `rgb(${about.palette[slot % about.palette.length]})`;
const show = () => {
  remember();
  document.body.classList.toggle("has-slots", run().slots);
  selected = Math.min(selected, shown.slots.length - 1);
  $("panels").replaceChildren(...panels(shown, run()));
  all("#images button").forEach((button, i) => button.setAttribute("aria-pressed", String(current().start.image === i)));
  showTiles();
  showActions();
  showSliders();
  mark();
};
const showTiles = () => {
  const tiles = $("tiles");
  while (tiles.children.length > shown.slots.length) tiles.lastChild.remove();
  shown.slots.forEach((slot, i) => {
    const tile = tiles.children[i] ?? tiles.appendChild(newTile(i));
    const [masked, mask, appearance] = tile.querySelectorAll("img");
    [masked.src, mask.src, appearance.src] = [slot.masked, slot.mask, slot.appearance].map(png);
    const words = [slot.hidden && "hidden", slot.out && "taken out", slot.locked && "locked", slot.put && "put in"].filter(Boolean);
    const [title, state] = tile.querySelectorAll("span");
    title.textContent = `Slot ${i + 1}: ${(100 * slot.share).toFixed(1)}% of pixels, ${slot.nats === null ? "drawn" : `KL ${slot.nats.toFixed(1)} nats`}`;
    state.textContent = words.join(", ");
    tile.classList.toggle("off", slot.hidden || slot.out);
    tile.setAttribute("aria-pressed", String(i === selected));
  });
};
const newTile = (i) => {
  const tile = make("button", { onclick: () => select(i), onpointerenter: () => point(i), onpointerleave: () => point(null) },
    make("img", { alt: "" }),
    make("div", { className: "pair" }, make("img", { alt: "", title: "mask" }), make("img", { alt: "", title: "appearance, also where others are in front" })),
    make("span"), make("span", { className: "state" }));
  tile.style.setProperty("--colour", colour(i));
  return tile;
};
const showActions = () => {
  const slot = shown.slots[selected];
  const button = (name) => document.querySelector(`[data-do=${name}]`);
  const disable = (name, off) => (button(name).disabled = off);
  $("slot-title").textContent = run().slots ? `Slot ${selected + 1}` : "The image";
  $("slot-title").style.setProperty("--colour", run().slots ? colour(selected) : "none");
  ["hidden", "out", "locked"].forEach((how) => (button(how).ariaPressed = String(slot[how])));
  button("solo").ariaPressed = String(isAlone());
  button("draw").hidden = !slot.can_draw;
  button("rest").hidden = !shown.slots.every((one) => one.can_draw);
  button("add").hidden = !run().draws || run().counts.length < 2;
  disable("rest", shown.slots.every((one) => one.locked));
  disable("add", !shown.can_add);
  disable("show", !marked("hidden").length);
  disable("undo", place === 0);
  disable("redo", place === states.length - 1);
  $("hand").hidden = !hand;
  button("swap").hidden = hand?.state.start.run !== current().start.run;
  $("drawing").hidden = !run().draws;
  $("run").value = current().start.run;
  $("beside").value = beside ?? "";
};

// Sliders; they stay while one of them is dragged.
const showSliders = () => {
  const slot = shown.slots[selected];
  const dims = run().dims.filter(([name]) => !(slot.is_rest && name === "mask"));
  document.querySelector("[data-do=more]").hidden = sliders >= dims.length;
  $("hint").textContent = `The numbers that describe ${run().slots ? "this slot" : "the image"}, in standard deviations of the prior; those first that say most.` +
    (slot.is_rest ? " This slot takes what the others leave: no number moves its mask." : "");
  const key = JSON.stringify([selected, current().start, dims.length, sliders, shown.slots.length]);
  if ($("sliders").dataset.key !== key) {
    $("sliders").replaceChildren(...dims.slice(0, sliders).map(newSlider));
    $("sliders").dataset.key = key;
  }
  all(".slider").forEach((element, i) => {
    const input = element.querySelector("input");
    const [name, dim] = dims[i];
    const [, , by] = slot.moves.find(([other, d]) => other === name && d === dim) ?? [0, 0, 0];
    if (!input.drag) input.value = by;
    element.querySelector("output").textContent = Number(input.value).toFixed(1);
  });
};
const newSlider = ([name, dim, nats], i) => {
  const input = make("input", { type: "range", min: -3, max: 3, step: 0.1, value: 0, id: `slider-${i}` });
  const strip = make("div", { className: "strip", hidden: true });
  const move = (by, drag) => edit(["move", selected, name, dim, by], drag ? { drag } : {});
  input.oninput = () => {
    input.drag ??= {};
    input.nextSibling.textContent = Number(input.value).toFixed(1);
    move(Number(input.value), input.drag);
  };
  input.onchange = () => (input.drag = undefined);
  const what = make("button", { textContent: "What does it do?", ariaExpanded: "false" });
  what.onclick = async () => {
    strip.hidden = !strip.hidden;
    what.ariaExpanded = String(!strip.hidden);
    if (strip.hidden) return;
    try {
      const images = await asked("strip", { state: current(), slot: selected, latent: name, dim });
      strip.replaceChildren(...images.map((image, k) => {
        const words = `${about.steps[k] > 0 ? "+" : ""}${about.steps[k]}`;
        return make("button", { onclick: () => move(about.steps[k]), ariaLabel: `move to ${words}` }, make("img", { src: png(image), alt: "" }), words);
      }));
    } catch (error) {
      say(error.message, true);
    }
  };
  return make("div", { className: "slider" }, make("label", { htmlFor: input.id, textContent: `${name} ${dim} (${nats.toFixed(2)} nats)` }), input, make("output"), what, strip);
};

// What one can do.
const upload = async (file) => {
  if (!file) return;
  say("reading…");
  try {
    const answer = await asked("upload", file);
    const { size, resize } = run();
    todo({ start: { run: current().start.run, png: answer.png }, words: `Your image: its central square, resized to ${size}x${size} (${resize}) as in training.` });
  } catch (error) {
    say(error.message, true);
  }
};
const save = async (what) => {
  try {
    const blob = await (await ask("save", { state: current(), what })).blob();
    const link = make("a", { href: URL.createObjectURL(blob), download: what });
    link.click();
    URL.revokeObjectURL(link.href);
    say(`Saved ${what}.`);
  } catch (error) {
    say(error.message, true);
  }
};
const marked = (how) => shown.slots.flatMap((slot, i) => (slot[how] ? [i] : []));
const acts = {
  hidden: () => toggle("hidden"),
  out: () => toggle("out"),
  locked: () => toggle("locked"),
  solo: () => edit(["mark", "hidden", isAlone() ? [] : shown.slots.map((_, i) => i).filter((i) => i !== selected)]),
  draw: () => edit(["draw", selected, seed()]),
  copy: () => edit(["copy", selected], { slot: shown.slots.length, words: "The copy lies in front: move a number to tell them apart." }),
  take: () => {
    hand = { state: current(), slot: selected };
    $("hand").querySelector("img").src = png(shown.slots[selected].masked);
    showActions();
    say("Now choose another image, and put it there.");
  },
  put: () => edit(["put", hand.state, hand.slot], { slot: shown.slots.length }),
  swap: () => edit(["swap", selected, hand.state, hand.slot]),
  show: () => edit(["mark", "hidden", []]),
  rest: () => edit(["draw_rest", seed()]),
  add: () => edit(["add", seed()], { slot: shown.slots.length }),
  undo: () => todo({ step: -1 }),
  redo: () => todo({ step: 1 }),
  scene: () => todo({ start: { run: current().start.run, draw: seed(), ...(run().slots ? { slots: Number($("count").value) } : {}) } }),
  more: () => {
    sliders += 16;
    showSliders();
  },
  link: async () => {
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    say(copied ? "The link is copied: it restores exactly this." : "The address of this page is the link: copy it from above.");
  },
};
const toggle = (how) => edit(["mark", how, shown.slots[selected][how] ? marked(how).filter((i) => i !== selected) : [...marked(how), selected]]);
const isAlone = () => shown.slots.length > 1 && !shown.slots[selected].hidden && marked("hidden").length === shown.slots.length - 1;
const listen = () => {
  const pictures = $("panels");
  pictures.addEventListener("pointermove", (event) => {
    const view = event.target.closest(".view");
    point(view && run().slots ? slotAt(event, view) : null);
  });
  pictures.addEventListener("pointerleave", () => point(null));
  pictures.addEventListener("click", (event) => {
    const view = event.target.closest(".view");
    if (view && run().slots) select(slotAt(event, view));
  });
  all("[data-do]").forEach((button) => (button.onclick = () => acts[button.dataset.do]()));
  all("[data-save]").forEach((button) => (button.onclick = () => save(button.dataset.save)));
  $("file").onchange = () => upload($("file").files[0]);
  $("run").onchange = () => todo({ start: { ...current().start, run: Number($("run").value), slots: undefined } });
  $("beside").onchange = () => {
    beside = $("beside").value === "" ? null : Number($("beside").value);
    todo({});
  };
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    upload(event.dataTransfer.files[0]);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && "zy".includes(event.key.toLowerCase())) {
      event.preventDefault();
      return todo({ step: event.key.toLowerCase() === "y" || event.shiftKey ? 1 : -1 });
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select") || !shown || !run().slots) return;
    if (event.key >= "1" && event.key <= String(Math.min(9, shown.slots.length))) return select(Number(event.key) - 1);
    const button = all("[data-do]").find(({ title }) => title.toLowerCase() === event.key.toLowerCase());
    if (button && !button.disabled && button.offsetParent) button.click();
  });
  window.addEventListener("hashchange", restore);
};

const begin = async () => {
  try {
    about = await asked("about", {});
  } catch (error) {
    return say(error.message, true);
  }
  const option = (value, textContent) => make("option", { value, textContent });
  $("images").append(...about.images.map((image, i) => make("button", { ariaLabel: `test image ${i + 1}`, onclick: () => todo({ start: { run: current().start.run, image: i } }) }, make("img", { src: png(image), alt: "" }))));
  $("run").append(...about.runs.map(({ name }, i) => option(i, name)));
  $("beside").append(option("", "nothing"), ...about.runs.map(({ name }, i) => option(i, name)));
  $("model").hidden = $("compare").hidden = about.runs.length < 2;
  $("count").append(...about.runs[0].counts.map((count) => option(count, count)));
  listen();
  restore();
};
begin();
