// What makes the pages live: one stream of events a browser, pages asked again when something of theirs changed, keys.
// Every page reads, and every button works, without it.

const body = document.body;
const prefix = body.dataset.prefix;
const word = (name) => body.dataset[`word${name}`] ?? "";
const every = (list, call) => Array.prototype.forEach.call(list, call);

// Times: the browser's own zone, with UTC beside it.
function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    const two = (number) => String(number).padStart(2, "0");
    const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
    const clock = `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
    const utc = `${two(moment.getUTCHours())}:${two(moment.getUTCMinutes())} UTC`;
    time.textContent = moment.getTimezoneOffset() === 0 ? `${day} ${clock} UTC` : `${day} ${clock} (${utc})`;
  }
}

// Makes one tree what another one is and touches nothing that is the same: focus, open details and fields stay.
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
    from.replaceWith(to.cloneNode(true));
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open" && name !== "data-at") from.removeAttribute(name);
  }
  const [old, fresh] = [[...from.childNodes], [...to.childNodes]];
  fresh.forEach((node, index) => (old[index] ? morph(old[index], node) : from.append(node.cloneNode(true))));
  old.slice(fresh.length).forEach((node) => node.remove());
}

// Asks for this page again and takes over what is live of it.
let asking = false;
let again = false;
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "follow" });
    if (answer.redirected && new URL(answer.url).pathname === `${prefix}/sign-in`) {
      signedOut();
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (fresh.body.dataset.build !== body.dataset.build && !isUnsaved()) {
      location.reload();
      return;
    }
    localise(fresh);
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const other = fresh.getElementById(part.id);
      if (other) morph(part, other);
    }
    if (document.title !== fresh.title) document.title = fresh.title;
    const tabs = [document, fresh].map((page) => page.querySelector("nav.tabs"));
    if (tabs[0] && tabs[1]) morph(tabs[0], tabs[1]);
    heardAt = Math.max(heardAt, performance.now() - 1000);
    tick();
  } catch {
    // The stream says that nothing is heard; there is nothing to add.
  } finally {
    asking = false;
    if (again) {
      again = false;
      later();
    }
  }
}

let due = 0;
function later() {
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    refresh();
  }, 150);
}

// Columns of a table: which are shown and how wide, kept in this browser. Rules of a sheet, so that a page asked again keeps them.
const COLUMNS = "graygate-columns";
const sheet = new CSSStyleSheet();

function columns() {
  try {
    return JSON.parse(localStorage.getItem(COLUMNS)) ?? {};
  } catch {
    return {};
  }
}

function keepColumn(table, index, change) {
  const all = columns();
  const own = (all[table] ??= {});
  own[index] = { ...own[index], ...change };
  localStorage.setItem(COLUMNS, JSON.stringify(all));
  drawColumns();
}

function drawColumns() {
  const rules = [];
  for (const [table, own] of Object.entries(columns())) {
    for (const [index, { hidden, width }] of Object.entries(own)) {
      const at = `#${CSS.escape(table)} > * > tr > :nth-child(${Number(index)})`;
      if (hidden) rules.push(`${at} { display: none; }`);
      if (width) rules.push(`${at} { width: ${Number(width)}px; min-width: ${Number(width)}px; max-width: ${Number(width)}px; white-space: normal; overflow-wrap: anywhere; }`);
    }
  }
  sheet.replaceSync(rules.join("\n"));
}

function chooseColumns() {
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  drawColumns();
  every(document.querySelectorAll("table.rows[id]"), (table) => {
    const heads = [...table.querySelectorAll("thead th")];
    const menu = document.createElement("details");
    const [summary, list] = [document.createElement("summary"), document.createElement("ul")];
    menu.className = "columns";
    summary.textContent = word("Columns");
    menu.append(summary, list);
    heads.forEach((head, at) => list.append(columnChoice(table.id, head.textContent.replace("▲", "").trim(), at + 1)));
    // Outside of what is asked again.
    (table.closest("[data-live]:not(table)") ?? table.closest(".scroll") ?? table).before(menu);
  });
}

function columnChoice(table, name, index) {
  const own = columns()[table]?.[index] ?? {};
  const [item, label, shown, width] = ["li", "label", "input", "input"].map((tag) => document.createElement(tag));
  Object.assign(shown, { type: "checkbox", checked: !own.hidden });
  Object.assign(width, { type: "range", min: 40, max: 600, step: 20, value: own.width ?? 160 });
  width.setAttribute("aria-label", `${name}: ${word("Width")}`);
  label.append(shown, ` ${name}`);
  shown.addEventListener("change", () => keepColumn(table, index, { hidden: !shown.checked }));
  width.addEventListener("input", () => keepColumn(table, index, { width: Number(width.value) }));
  item.append(label, width);
  return item;
}

// What was just done can be undone here for a while, and ever after in the history. It stays while it is in use.
function fade() {
  every(document.querySelectorAll("[data-fade]"), (flash) => {
    const mark = document.createElement("span");
    mark.className = "none";
    mark.setAttribute("aria-hidden", "true");
    flash.querySelector("button")?.after(mark);
    const step = () => {
      const left = Number(flash.dataset.fade);
      mark.textContent = ` ${left} s`;
      if (left <= 0) {
        flash.remove();
        return;
      }
      if (!flash.matches(":hover, :focus-within")) flash.dataset.fade = String(left - 1);
      setTimeout(step, 1000);
    };
    step();
  });
}

function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

// Events: the tab that holds the lock listens, and tells the others.
let heardAt = performance.now();
const STALE = 3000;
const channel = "BroadcastChannel" in window ? new BroadcastChannel("graygate-events") : null;

function hear({ kind, text }) {
  heardAt = performance.now();
  tick();
  const wanted = kind === "reset" || kind === "open";
  const parts = [...document.querySelectorAll("[data-live]")];
  if (wanted || parts.some((part) => part.dataset.live.split(" ").includes(kind))) later();
  if (kind === "plan") {
    const { plan, to } = JSON.parse(text);
    if (plan && to) say(`${plan}: ${to}`);
  }
}

if (channel) channel.onmessage = ({ data }) => hear(data);

let source = null;
function listen() {
  source = new EventSource(body.dataset.events);
  const tell = (kind) => ({ data }) => {
    const event = { kind, text: kind === "plan" ? data : "" };
    hear(event);
    channel?.postMessage(event);
  };
  source.onopen = () => tell("open")({ data: "" });
  for (const kind of ["plan", "document", "problem", "services", "message", "fleet", "reset"]) {
    source.addEventListener(kind, tell(kind));
  }
  source.onerror = () => {
    // A stream that was refused is not tried again by the browser.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function lead() {
  if (!navigator.locks) {
    listen();
    return;
  }
  navigator.locks.request("graygate-events", () => {
    listen();
    return new Promise(() => {});
  });
}

function signedOut() {
  const mark = document.getElementById("live");
  source?.close();
  if (mark) {
    mark.classList.add("stale");
    mark.textContent = word("Out");
  }
  ended = true;
}

// How old the figures are, and asking for them where no stream comes through.
let ended = false;
let askedAt = 0;
function tick() {
  const mark = document.getElementById("live");
  if (!mark || ended) return;
  const age = performance.now() - heardAt;
  const isStale = age > STALE;
  mark.classList.toggle("stale", isStale);
  const text = isStale ? `${word("Stale")} (${Math.floor(age / 1000)} s)` : word("Live");
  if (mark.textContent !== text) mark.textContent = text;
  if (isStale && performance.now() - askedAt > STALE) {
    askedAt = performance.now();
    refresh();
  }
}

// Unsaved changes are not left without a word.
const initial = new Map();
function isUnsaved() {
  return [...document.querySelectorAll("form[data-unsaved] textarea:not([hidden])")].some(
    (field) => initial.has(field) && initial.get(field) !== field.value,
  );
}

function guardForms() {
  every(document.querySelectorAll("form[data-unsaved] textarea:not([hidden], [data-aside])"), (field) => initial.set(field, field.value));
  let sent = false;
  document.addEventListener("submit", ({ target, submitter }) => {
    // What is downloaded leaves the page as it is.
    if (submitter?.dataset.download !== undefined) return;
    sent = true;
    // Pressed twice is pressed once.
    setTimeout(() => every(target.querySelectorAll("button[type=submit]"), (button) => (button.disabled = true)));
  });
  addEventListener("beforeunload", (event) => {
    if (!sent && isUnsaved()) event.preventDefault();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}

// A file becomes the text of a field.
function readFiles() {
  every(document.querySelectorAll("input[type=file][data-into]"), (input) => {
    input.addEventListener("change", async () => {
      const field = document.getElementById(input.dataset.into);
      if (!input.files[0] || !field) return;
      const room = Number(input.dataset.requests);
      field.value = room ? await requests(input.files[0], room) : await input.files[0].text();
    });
  });
}

// The newest requests of an access log that have room in a form; of each line only what a replay asks for.
const READ_AT_MOST = 16 << 20;
async function requests(file, room) {
  const lines = (await file.slice(Math.max(file.size - READ_AT_MOST, 0)).text()).split("\n");
  if (file.size > READ_AT_MOST) lines.shift();
  const kept = [];
  let left = room;
  for (const line of lines.reverse()) {
    const short = slim(line);
    left -= short.length + 1;
    if (left < 0) break;
    if (short) kept.push(short);
  }
  return kept.reverse().join("\n");
}

function slim(line) {
  try {
    const { method, host, path, client, user_agent } = JSON.parse(line);
    return JSON.stringify({ method, host, path, client, user_agent });
  } catch {
    return line.trim();
  }
}

function goToLines() {
  document.addEventListener("click", ({ target }) => {
    const line = target.dataset?.line;
    const field = document.getElementById("text");
    if (!line || !field) return;
    const lines = field.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    field.focus();
    field.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    field.scrollTop = (line - 4) * (field.scrollHeight / lines.length);
  });
}

// Keys. None of them changes anything.
const SINGLE = "graygate-keys";
const single = () => localStorage.getItem(SINGLE) !== "off";
let after = "";

function isTyping(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null && target.closest !== undefined;
}

function rows() {
  return [...document.querySelectorAll("main .open")].filter((link) => link.offsetParent !== null);
}

function move(by) {
  const links = rows();
  if (links.length === 0) return;
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + by, 0), links.length - 1)].focus();
}

function open(id) {
  const dialog = document.getElementById(id);
  if (dialog && !dialog.open) dialog.showModal();
}

function pressed(event) {
  const { key, target } = event;
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "k") {
    event.preventDefault();
    open("palette");
    return;
  }
  if (key === "Escape" && isTyping(target) && !target.closest("dialog")) target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(target) || !single() || target.closest("dialog")) return;
  const goes = after === "g";
  after = key === "g" && !goes ? "g" : "";
  if (goes) {
    const link = document.querySelector(`nav.tabs a[data-key="${CSS.escape(key)}"]`);
    if (link) link.click();
    return;
  }
  const call = { "?": () => open("keys"), "/": find, j: () => move(1), k: () => move(-1) }[key];
  if (call) {
    event.preventDefault();
    call();
  }
}

function find() {
  const field = document.querySelector("main [data-search]") ?? document.getElementById("find");
  field?.focus();
  field?.select?.();
}

function palette() {
  const dialog = document.getElementById("palette");
  if (!dialog) return;
  const [field, found] = [document.getElementById("palette-find"), document.getElementById("palette-found")];
  const pages = [...document.querySelectorAll("nav.tabs a")];
  let asked = 0;
  field.addEventListener("input", () => {
    clearTimeout(asked);
    asked = setTimeout(async () => {
      const text = field.value.trim();
      const answer = text && (await fetch(`${prefix}/find?q=${encodeURIComponent(text)}`));
      const page = answer ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
      const links = pages.filter((link) => link.textContent.toLowerCase().includes(text.toLowerCase()));
      found.replaceChildren(...links.map((link) => item(link)), ...(page?.querySelectorAll("#found li") ?? []));
    }, 150);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      const link = found.querySelector("a");
      if (!link) return;
      event.preventDefault();
      if (event.key === "Enter") link.click();
      else link.focus();
    }
  });
  found.addEventListener("keydown", (event) => {
    const links = [...found.querySelectorAll("a")];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    (links[links.indexOf(document.activeElement) + by] ?? field).focus();
  });
}

function item(link) {
  const li = document.createElement("li");
  const copy = document.createElement("a");
  copy.href = link.href;
  copy.textContent = link.textContent;
  li.append(copy);
  return li;
}

function keys() {
  document.addEventListener("keydown", pressed);
  const button = document.getElementById("keys-open");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => open("keys"));
  }
  const choice = document.getElementById("keys-single");
  if (choice) {
    choice.checked = single();
    choice.addEventListener("change", () => localStorage.setItem(SINGLE, choice.checked ? "on" : "off"));
  }
}

localise(document);
guardForms();
readFiles();
goToLines();
keys();
palette();
chooseColumns();
fade();
document.querySelector("[data-focus]")?.focus();
const signIn = document.querySelector("form[data-again]");
if (signIn) location.replace(signIn.dataset.again);
if (body.dataset.events) {
  lead();
  setInterval(tick, 500);
}
