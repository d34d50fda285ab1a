// Files of the model: fetched once with progress, kept in the browser's cache, there without a network afterwards.

const STORE = `understudy-models ${new URL("./", document.baseURI).pathname}`; // this page's, of all those of its origin

/** An address that changes with the content, so that a kept file is never an old one. */
const address = (file) => new URL(`${file.file}?${file.sha256.slice(0, 16)}`, document.baseURI).href;

/** The cache, or undefined where the browser has none (a page that is not served by https or from localhost). */
async function store() {
  try {
    return await self.caches?.open(STORE);
  } catch {
    return undefined;
  }
}

/** Bytes of `files` that are not kept here yet. */
export async function missing(files) {
  const cache = await store();
  const there = await Promise.all(files.map(async (file) => cache && (await cache.match(address(file)))));
  return files.filter((_, place) => !there[place]).reduce((sum, file) => sum + file.bytes, 0);
}

/** Whether what is fetched is kept for the next visit. */
export const keeps = async () => Boolean(await store());

/** Forgets every kept file but those of `files`. */
export async function tidy(files) {
  const cache = await store();
  const wanted = new Set(files.map(address));
  for (const request of (await cache?.keys()) ?? []) if (!wanted.has(request.url)) await cache.delete(request);
}

/** A response that is good. Throws an Error that names the file. */
export async function fetched(url, name = url, options = {}) {
  const response = await fetch(url, options).catch(() => {
    throw new Error(`${name} cannot be fetched: is the network there? Reload to try again.`);
  });
  if (!response.ok || !response.body) throw new Error(`${name} cannot be fetched (HTTP ${response.status}).`);
  return response;
}

/** The file as a blob; `onBytes` is told each part's length as it arrives. Throws an Error that says what to do. */
export async function load(file, onBytes, signal) {
  const cache = await store();
  const kept = await cache?.match(address(file));
  if (kept) return kept.blob();
  const response = await fetched(address(file), file.file, {signal});
  let bytes = 0;
  const counted = response.body.pipeThrough(new TransformStream({
    transform(part, controller) {
      bytes += part.byteLength;
      if (!signal.aborted) onBytes(part.byteLength);
      controller.enqueue(part);
    },
  }));
  const arrived = await new Response(counted).blob().catch(() => {
    throw new Error(`${file.file} broke off after ${megabytes(bytes)}. Reload to try again.`);
  });
  if (arrived.size !== file.bytes) throw new Error(`${file.file} has ${arrived.size} bytes, not ${file.bytes}. Reload to try again.`);
  if (!(await matches(arrived, file.sha256)))
    throw new Error(`${file.file} is not the one that this page was made with: it was renewed or damaged. Reload to try again.`);
  // A full disk is no reason to stop: the page works, and fetches again the next time.
  await cache?.put(address(file), new Response(arrived)).catch((error) => console.warn(`not kept: ${error}`));
  return arrived;
}

/** Whether these are the bytes; true where the browser cannot tell (a page that is not served by https or from localhost). */
async function matches(blob, sha256) {
  if (!self.crypto.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

/** "98 MB" */
export const megabytes = (bytes) => `${bytes < 9.5e6 ? (bytes / 1e6).toFixed(1) : Math.round(bytes / 1e6)} MB`;
