// Keeps the page itself, so that it opens without a network, and isolates it, so that it may use several threads.
// The export puts VERSION and SHELL in front of this file. Models are kept by files.js.

// Other pages of the same origin have caches of their own.
const HERE = ` ${new URL("./", self.location).pathname}`;
const CACHE = `understudy-page-${VERSION}${HERE}`;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(
    caches.open(CACHE).then((cache) => cache.addAll(SHELL.map((path) => new Request(path, {cache: "reload"})))),
  );
});

self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("understudy-page-") && name.endsWith(HERE) && name !== CACHE;
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const {request} = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, {ignoreSearch: request.mode === "navigate"});
  return isolated(kept ?? (await fetch(request)));
}

function isolated(response) {
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  const {status, statusText} = response;
  return new Response(response.body, {status, statusText, headers});
}
