// Replaces the content every few seconds; without JavaScript the page is as complete, only not refreshed by itself.
"use strict";
const offline = document.getElementById("offline");
async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("content");
    const old = document.getElementById("content");
    offline.hidden = true;
    // What did not change is left alone, so that focus and selection stay.
    if (fresh && fresh.innerHTML !== old.innerHTML) {
      const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
      old.innerHTML = fresh.innerHTML;
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    }
  } catch {
    offline.hidden = false;
  }
}
setInterval(refresh, 3000);
