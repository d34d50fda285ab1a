// Starts the page: isolates it, says what has to be fetched, loads the model, then opens chat and arena.
import {Arena} from "./arena.js";
import {Chat} from "./chat.js";
import {$} from "./dom.js";
import {fetched, keeps, megabytes, missing, tidy} from "./files.js";
import {Voices} from "./voices.js";

const RELOADED = "understudy-reloaded";

async function main() {
  tabs();
  await isolate();
  const site = await (await fetched("personas.json", "personas.json", {cache: "no-cache"})).json();
  const {Engine, obstacle, threads} = await import("./engine.js");
  const why = obstacle();
  if (why) return refuse(why);
  const engine = new Engine(site);
  const toFetch = await missing(engine.files);
  if (toFetch) await consent(site, toFetch, threads());
  const started = performance.now();
  const voices = new Voices(site, () => chat?.switched());
  await load(engine, toFetch);
  await tidy(engine.files);
  const chat = new Chat(engine, voices);
  new Arena(engine, voices);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  $("#speed").textContent = `Ready in ${seconds} s, ${engine.threads} thread${engine.threads > 1 ? "s" : ""}`;
  $("#loader").hidden = true;
  $("#tabs").hidden = $("#chat").hidden = false;
  $("#message").focus({preventScroll: true});
  window.understudy = {engine, voices, chat}; // for tests, measurements and the curious
}

/** Installs the service worker: pages that it serves open without a network and may use several threads. */
async function isolate() {
  if (!navigator.serviceWorker) return;
  if (navigator.serviceWorker.controller) // a new version has come: no parts of two are mixed
    navigator.serviceWorker.addEventListener("controllerchange", () => window.understudy || location.reload());
  try {
    await active(await navigator.serviceWorker.register("sw.js"));
  } catch (error) {
    console.warn(`no service worker: ${error}`);
    return;
  }
  if (self.crossOriginIsolated) return sessionStorage.removeItem(RELOADED);
  if (window !== window.top || sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => {});
}

/** Waits until a service worker is active, or has failed to be. */
async function active(registration) {
  const worker = registration.installing ?? registration.waiting;
  if (registration.active || !worker) return;
  await new Promise((resolve) => {
    const look = () => ["activated", "redundant"].includes(worker.state) && resolve();
    worker.addEventListener("statechange", look);
    look();
  });
}

/** Says what starting fetches, and waits for the button. */
async function consent(site, bytes, threads) {
  const size = `${megabytes(bytes)}: the base ${megabytes(site.base.bytes)}, ` +
    site.personas.map((one) => `${one.title} ${megabytes(one.bytes)}`).join(", ");
  const kept = (await keeps()) ? "Kept in this browser: the next visit needs no network." : "This browser will not keep it.";
  const slow = threads > 1 ? "" : " Here it runs on one thread, about half as fast" +
    (window === window.top ? "." : "; opened in a tab of its own it may use several.");
  $("#loader-text").textContent = `The model runs in this tab. Starting it downloads ${size}. ${kept}${slow}`;
  $("#start").hidden = false;
  $("#start").textContent = `Download ${megabytes(bytes)} and start`;
  await new Promise((resolve) => $("#start").addEventListener("click", resolve, {once: true}));
  $("#start").hidden = true;
}

async function load(engine, toFetch) {
  let here = 0;
  const bar = $("#loader-bar");
  bar.hidden = !toFetch;
  const onBytes = (bytes) => {
    here += bytes;
    bar.value = here / toFetch;
    $("#loader-text").textContent = `Downloading: ${megabytes(here)} of ${megabytes(toFetch)}`;
  };
  await engine.start(onBytes, () => {
    bar.hidden = true;
    $("#loader-text").textContent = "Starting the model…";
  });
}

function refuse(text) {
  $("#loader").className = "banner down";
  $("#loader").setAttribute("role", "alert");
  $("#loader-text").textContent = text;
  $("#loader-bar").hidden = $("#start").hidden = true;
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const open = (chosen) => all.forEach((tab) => {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = tab !== chosen;
  });
  for (const [place, tab] of all.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({key}) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const next = all[(place + (key === "ArrowRight" ? 1 : all.length - 1)) % all.length];
      open(next);
      next.focus();
    });
  }
}

main().catch((error) => {
  console.error(error);
  refuse(error.message);
});
