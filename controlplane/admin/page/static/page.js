// Two conveniences; every view works without them: commands can be copied, and parts marked
// data-live are asked for again when the server says that something has changed.
"use strict";

const QUIET = 2000; // milliseconds between two looks at a mesh that keeps changing
const state = document.querySelector("[data-live-state]");

function say(text, isLive) {
  if (state && state.textContent !== text) {
    state.textContent = text;
    state.classList.toggle("on", isLive);
  }
}

function offerCopies(root) {
  for (const place of root.querySelectorAll("[data-copy]")) {
    if (place.querySelector("button") || !navigator.clipboard) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the command ${place.dataset.copy}`);
    button.addEventListener("click", async () => {
      let told = "Copied";
      try {
        await navigator.clipboard.writeText(place.dataset.copy);
      } catch {
        told = "Not copied";
      }
      button.textContent = told;
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    place.append(button);
  }
}

// The map: whoever is pointed at keeps his lines, the others step back.
function followMap(root) {
  for (const map of root.querySelectorAll("[data-map]")) {
    const lines = [...map.querySelectorAll("[data-from]")];
    const boxes = [...map.querySelectorAll("[data-key]")];
    const look = (key) => {
      const near = new Set([key]);
      for (const line of lines) {
        const isMine = line.dataset.from === key || line.dataset.to === key;
        line.classList.toggle("mine", isMine);
        if (isMine) near.add(line.dataset.from).add(line.dataset.to);
      }
      for (const box of boxes) box.classList.toggle("near", near.has(box.dataset.key));
      map.classList.toggle("looking", near.size > 1);
    };
    const keyOf = (event) => event.target.closest("[data-key]")?.dataset.key ?? null;
    map.addEventListener("pointerover", (event) => look(keyOf(event)));
    map.addEventListener("pointerleave", () => look(null));
    map.addEventListener("focusin", (event) => look(keyOf(event)));
    map.addEventListener("focusout", () => look(null));
  }
}

// Whoever holds the focus, and whatever is selected, is left alone.
function isBusy(part) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  return isSelected || part.matches(":focus-within");
}

function withoutAges(part) {
  const copy = part.cloneNode(true);
  for (const each of copy.querySelectorAll("time, .copy")) each.remove();
  return copy.innerHTML;
}

async function lookAgain() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live][id]")) {
    const other = fresh.getElementById(part.id);
    if (!other || isBusy(part)) continue;
    if (withoutAges(part) === withoutAges(other)) {
      const ages = [...other.querySelectorAll("time")];
      part.querySelectorAll("time").forEach((each, at) => {
        if (each.textContent !== ages[at].textContent) each.textContent = ages[at].textContent;
      });
      continue;
    }
    part.className = other.className;
    part.replaceChildren(...other.childNodes);
    offerCopies(part);
    followMap(part);
  }
}

function live() {
  if (!document.querySelector("[data-live]")) return;
  let looking = false;
  let wanted = false;
  const look = async () => {
    wanted = true;
    if (looking || document.hidden) return;
    looking = true;
    while (wanted && !document.hidden) {
      wanted = false;
      try {
        await lookAgain();
      } catch {
        say("not live", false);
      }
      await new Promise((resolve) => setTimeout(resolve, QUIET));
    }
    looking = false;
  };
  const stream = new EventSource("/page/live");
  stream.addEventListener("open", () => say("live", true));
  stream.addEventListener("error", () => say("not live", false));
  // The first event comes at once: something may have changed since the page was made.
  stream.addEventListener("changed", look);
  document.addEventListener("visibilitychange", () => !document.hidden && wanted && look());
  window.addEventListener("pagehide", () => stream.close());
}

offerCopies(document);
followMap(document);
live();
