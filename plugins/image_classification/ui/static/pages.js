// What the pages do in a browser: links into Airflow, times, fresh content, confirmation before a run is started.
"use strict";
const { root, airflow } = document.body.dataset;
const said = document.getElementById("said");

// --- Links. The pages stand in a sandboxed frame of Airflow's UI, which may neither leave it nor open windows.
function insideAirflow() {
  try {
    return parent !== self && parent.location.origin === location.origin ? parent : null;
  } catch {
    return null;
  }
}

function goInAirflow(path) {
  const frame = insideAirflow();
  const prefix = airflow ? new URL(airflow, location.href).pathname.replace(/\/$/, "") : "";
  if (!frame) {
    location.assign(prefix + path);
    return;
  }
  frame.history.pushState({}, "", prefix + path);
  frame.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}

function openOutside(address) {
  const owner = insideAirflow()?.document ?? document;
  const link = owner.createElement("a");
  Object.assign(link, { href: address, target: "_blank", rel: "noopener noreferrer" });
  link.click();
}

function follow(event) {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link) return;
  const address = new URL(link.getAttribute("href"), link.ownerDocument.baseURI);
  if (!/^https?:$/.test(address.protocol)) return;
  const base = airflow ? new URL(airflow, location.href) : location;
  const prefix = base.pathname === "/" || !airflow ? "" : base.pathname.replace(/\/$/, "");
  const own = address.origin === location.origin || address.origin === base.origin;
  const ofPages = `${prefix}/plugin${root.slice(prefix.length)}`;
  if (own && address.pathname.startsWith(ofPages)) {
    event.preventDefault();
    location.assign((address.pathname.slice(ofPages.length) || `${root}/`) + address.search);
  } else if (own && (link.hasAttribute("data-in-airflow") || !address.pathname.startsWith(`${root}/`))) {
    event.preventDefault();
    goInAirflow(address.pathname.slice(prefix && address.pathname.startsWith(prefix) ? prefix.length : 0) + address.search);
  } else if (!own) {
    event.preventDefault();
    openOutside(address.href);
  } else if (link.ownerDocument !== document) {
    event.preventDefault();
    location.assign(address.pathname + address.search);
  }
}
document.addEventListener("click", follow);

// --- Times in the reader's own zone.
function localTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}

// --- Fresh content: the page is read again, and its live parts are put instead of the old ones.
const content = document.getElementById("content");
const AWAITED_SECONDS = 1;

function isInUse(part) {
  const focused = document.activeElement;
  return part.querySelector("dialog[open]") || (focused?.matches("input, textarea, select") && part.contains(focused));
}

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of content.querySelectorAll("[data-live]")) {
    const other = fresh.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
    if (!other || isInUse(part)) continue;
    localTimes(other);
    if (other.innerHTML === part.innerHTML) continue;
    const chosen = new Set([...part.querySelectorAll("input:checked")].map((box) => box.id));
    const opened = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const scrolled = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    part.replaceChildren(...other.childNodes);
    for (const id of chosen) if (id) document.getElementById(id)?.setAttribute("checked", "");
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    part.querySelectorAll(".scroll").forEach((box, place) => (box.scrollLeft = scrolled[place] ?? 0));
    if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    prepare(part);
  }
}

async function keepFresh() {
  const seconds = Number(content.dataset.refresh);
  if (!seconds) return;
  for (;;) {
    const wait = content.querySelector("[data-awaited]") ? AWAITED_SECONDS : seconds;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    try {
      await refresh();
    } catch {
      // The server may be restarting: what is shown stays, with its time.
    }
  }
}

// --- Selecting models to compare.
function countChosen(form) {
  const chosen = form.querySelectorAll("input[type=checkbox]:checked").length;
  const button = form.querySelector("[data-compare]");
  const most = Number(form.dataset.most) || Infinity;
  if (button) {
    button.disabled = chosen < 2 || chosen > most;
    button.textContent = button.disabled ? `Compare: select two${most > 2 ? " or more" : ""}` : `Compare ${chosen} versions`;
  }
}

function compare(event) {
  event.preventDefault();
  const chosen = [...event.target.querySelectorAll("input[type=checkbox]:checked")].map((box) => `version=${box.value}`);
  location.assign(`${event.target.dataset.action}?${chosen.join("&")}`);
}

// --- Buttons: what will be started is shown, and started once a person has confirmed it.
async function openDialog(button) {
  const dialog = document.getElementById(button.dataset.dialog);
  dialog.returnValue = "";
  dialog.showModal();
}

async function send(event) {
  event.preventDefault();
  const form = event.target; // its fields shadow its properties: one of them is called dataset
  const answerTo = form.querySelector("[data-answer]");
  const button = form.querySelector("button[type=submit]");
  const fields = Object.fromEntries(new FormData(form).entries());
  button.disabled = true;
  answerTo.replaceChildren(message("", "Starting."));
  try {
    const action = form.hasAttribute("data-keep-images") ? await withKeptImages(form) : form.getAttribute("data-action");
    const found = await post(action, { "Content-Type": "application/json" }, JSON.stringify(fields));
    if (found.page) {
      location.assign(root + found.page);
      return;
    }
    answerTo.replaceChildren(started(found));
    say(`${found.dag_id} is started.`);
    form.closest("dialog").addEventListener("close", () => location.reload(), { once: true });
  } catch (error) {
    answerTo.replaceChildren(message("bad", String(error.message ?? error)));
    say(String(error.message ?? error));
    button.disabled = false;
  }
}

function message(kind, text) {
  const said = document.createElement("p");
  said.className = `message ${kind}`;
  said.textContent = text;
  return said;
}

function started(found) {
  const told = message("good", `${found.dag_id} is started: `);
  const link = document.createElement("a");
  link.href = found.path;
  link.dataset.inAirflow = "";
  link.textContent = found.run_id;
  told.append(link);
  if (found.note) told.append(`. ${found.note}`);
  return told;
}

function say(text) {
  said.textContent = text;
}

// --- A report stands in a frame without scripts, of the same origin: its links lead on, and it is as high as its text.
function showReport(frame) {
  const fit = () => {
    const inner = frame.contentDocument;
    if (!inner?.documentElement) return;
    inner.addEventListener("click", follow);
    new ResizeObserver(() => {
      frame.style.height = `${inner.documentElement.scrollHeight + 4}px`;
    }).observe(inner.documentElement);
  };
  const load = () => {
    const theme = document.documentElement.classList.contains("dark") ? "dark" : "light";
    const address = `${frame.dataset.src}?theme=${theme}`;
    if (frame.getAttribute("src") !== address) frame.setAttribute("src", address);
  };
  frame.addEventListener("load", fit);
  new MutationObserver(load).observe(document.documentElement, { attributeFilter: ["class"] });
  load();
}

async function post(action, headers, body) {
  const answer = await fetch(action, { method: "POST", headers: { "X-Image-Classification": "1", ...headers }, body });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail ?? `The server answers ${answer.status}.`);
  return found;
}

// --- Images that are dropped, chosen or named by their address are sent to the endpoint one after the other.
const given = []; // each with its name, and either its file or its address

function sendImage(zone, image, query = "") {
  if (image.file) {
    const headers = { "Content-Type": "application/octet-stream", "X-Name": encodeURIComponent(image.name) };
    return post(zone.dataset.images + query, headers, image.file);
  }
  return post(zone.dataset.addresses + query, { "Content-Type": "application/json" }, JSON.stringify({ address: image.address }));
}

async function askAbout(zone, images) {
  const answers = document.getElementById(zone.dataset.answers);
  for (const image of images) {
    if (given.length >= Number(zone.dataset.most)) {
      answers.prepend(message("warn", `No more than ${zone.dataset.most} images at a time: load the page again, or use predict_images.`));
      return;
    }
    const shown = document.getElementById("answer").content.firstElementChild.cloneNode(true);
    const picture = shown.querySelector("img");
    if (image.file) picture.src = URL.createObjectURL(image.file);
    else picture.hidden = true;
    shown.querySelector("[data-name]").textContent = image.name;
    answers.prepend(shown);
    try {
      if (image.file && !zone.hasAttribute("data-serves")) shown.querySelector("[data-text]").textContent = "not asked about yet";
      else showAnswer(shown, picture, await sendImage(zone, image));
      given.push(image);
    } catch (error) {
      shown.querySelector("[data-text]").replaceChildren(message("bad", String(error.message ?? error)));
      say(String(error.message ?? error));
    }
    for (const button of document.querySelectorAll("[data-needs-images]")) button.disabled = given.length === 0;
  }
}

function showAnswer(shown, picture, found) {
  if (found.problem) throw new Error(found.problem);
  if (found.image) Object.assign(picture, { src: found.image, hidden: false });
  shown.querySelector("[data-name]").textContent = found.name;
  shown.querySelector("[data-text]").textContent = `version ${found.version}, ${found.milliseconds} ms`;
  shown.querySelector("[data-bars]").replaceChildren(...found.classes.flatMap(bar));
  say(`${found.name}: ${found.classes[0][0]}, ${(found.classes[0][1] * 100).toFixed(1)} %`);
}

async function withKeptImages(form) {
  const zone = document.querySelector("[data-answers]");
  let question = "new";
  for (const [place, image] of given.entries()) {
    question = (await sendImage(zone, image, `?question=${question}&place=${place}`)).question;
  }
  return form.getAttribute("data-action").replace("QUESTION", question);
}

function bar([label, probability]) {
  const name = document.createElement("span");
  name.textContent = label;
  const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: probability });
  meter.setAttribute("aria-label", label);
  const share = document.createElement("span");
  share.textContent = `${(probability * 100).toFixed(2)} %`;
  return [name, meter, share];
}

function takeImages(zone) {
  const files = (list) => [...list].map((file) => ({ name: file.name, file }));
  zone.querySelector("input[type=file]").addEventListener("change", (event) => askAbout(zone, files(event.target.files)));
  zone.querySelector("form[data-address]").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = event.target.querySelector("input");
    const address = field.value.trim();
    if (address) askAbout(zone, [{ name: address.split("?")[0], address }]);
    field.value = "";
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", name === "dragover");
      if (name === "drop") askAbout(zone, files(event.dataTransfer.files));
    });
  }
}

function prepare(within) {
  for (const form of within.querySelectorAll("form[data-choose]")) {
    form.addEventListener("change", () => countChosen(form));
    form.addEventListener("submit", compare);
    countChosen(form);
  }
  for (const button of within.querySelectorAll("button[data-dialog]")) button.addEventListener("click", () => openDialog(button));
  for (const button of within.querySelectorAll("button[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const form of within.querySelectorAll("form[data-action]:not([data-choose])")) form.addEventListener("submit", send);
}

localTimes(document);
prepare(document);
document.querySelectorAll("[data-answers]").forEach(takeImages);
document.querySelectorAll("iframe[data-report]").forEach(showReport);
keepFresh();
