// Votes, kept in this browser, in the form that `understudy rank FILE.json` reads.

const PLACE = `understudy-votes ${new URL("./", document.baseURI).pathname}`; // this page's, of all those of its origin
let unsaved = null; // where the browser keeps nothing, votes last as long as the page

export function votes() {
  if (unsaved) return unsaved;
  try {
    const found = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(found) ? found.filter((vote) => vote?.left && vote.right && vote.winner) : [];
  } catch {
    return [];
  }
}

/** Adds a vote; returns whether the browser keeps it. */
export function add(vote) {
  const all = [...votes(), {...vote, at: new Date().toISOString(), voter: voter()}];
  try {
    localStorage.setItem(PLACE, JSON.stringify(all));
    unsaved = null;
    return true;
  } catch {
    unsaved = all;
    return false;
  }
}

export function forget() {
  unsaved = null;
  try {
    localStorage.removeItem(PLACE);
  } catch {
    // nothing was kept
  }
}

/** By persona: votes that it won, lost, tied, and that were bad on both sides. */
export function counts() {
  const table = new Map();
  for (const {left, right, winner} of votes()) {
    const persona = left === "base" ? right : left;
    const row = table.get(persona) ?? {won: 0, lost: 0, tied: 0, bad: 0};
    if (winner === "tie") row.tied += 1;
    else if (winner === "both_bad") row.bad += 1;
    else if ((winner === "left" ? left : right) === persona) row.won += 1;
    else row.lost += 1;
    table.set(persona, row);
  }
  return table;
}

/** A random name of this browser, so that several people's files can be counted together. */
function voter() {
  try {
    const kept = localStorage.getItem("understudy-voter") ?? random();
    localStorage.setItem("understudy-voter", kept);
    return kept;
  } catch {
    return "unknown";
  }
}

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
