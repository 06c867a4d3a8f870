// Small helps for the pages: relative times, copying commands, what was opened stays open, and saying so when the hub
// cannot be reached. Everything works without it except that nothing refreshes.
"use strict";

const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function showTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    const seconds = (time - Date.now()) / 1000;
    const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
    // Clocks differ a little; a moment ago is never "in 1 second".
    const amount = Math.trunc(seconds / size);
    const text = unit === "second" && seconds > -10 && seconds < 3 ? "just now" : relative.format(amount, unit);
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = time.toLocaleString("en-GB");
  }
}

// Opened and closed details, by id; a section that is replaced gets them back.
const opened = new Map();
let hadFocus = null;

document.addEventListener("toggle", (event) => {
  const element = event.target;
  if (element.id && element.isConnected) opened.set(element.id, element.open);
}, true);

document.addEventListener("htmx:oobBeforeSwap", () => {
  hadFocus = document.activeElement && document.activeElement.id;
});

document.addEventListener("htmx:oobAfterSwap", () => {
  for (const [id, open] of opened) {
    const element = document.getElementById(id);
    if (element instanceof HTMLDetailsElement && element.open !== open) element.open = open;
  }
  const lost = document.activeElement === document.body || document.activeElement === null;
  if (lost && hadFocus) document.getElementById(hadFocus)?.focus({ preventScroll: true });
  showTimes();
});

// A page that is no longer fresh says so.
let lastAnswer = new Date();
function setOffline(reason) {
  const banner = document.getElementById("offline");
  const text = reason ? `${reason} This page shows the state of ${lastAnswer.toLocaleTimeString("en-GB")}.` : "";
  if (banner && banner.textContent !== text) banner.textContent = text;
}
document.addEventListener("htmx:afterOnLoad", () => { lastAnswer = new Date(); setOffline(""); });
document.addEventListener("htmx:sendError", () => setOffline("The hub cannot be reached."));
document.addEventListener("htmx:timeout", () => setOffline("The hub does not answer."));
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status !== 401) setOffline("The hub answers with an error.");
});

// Links to an operation open it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
}
window.addEventListener("hashchange", openTarget);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const label = button.lastChild;
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = "Selected";
  }
  setTimeout(() => { label.textContent = "Copy"; }, 2000);
});

showTimes();
openTarget();
setInterval(showTimes, 5000);
