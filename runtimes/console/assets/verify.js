"use strict";
// Verifies the proof of a ledger entry in this browser, without trust in what the page says: entry, leaf, root,
// signature. The texts of the steps come from the page, in its language.

const ED25519 = 1;
const encoder = new TextEncoder();

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

/** The parts of a proof file (C2SP tlog-proof) with the text of its entry. */
function readProof(text) {
  const end = text.indexOf("\n\n");
  const [header, extra, index, ...path] = text.slice(0, end).split("\n");
  if (header !== "c2sp.org/tlog-proof@v1" || !extra?.startsWith("extra ") || !index?.startsWith("index ")) {
    throw new Error("this is not a proof file with an entry");
  }
  const note = text.slice(end + 2);
  const split = note.lastIndexOf("\n\n") + 1;
  const body = note.slice(0, split);
  const [, size, root] = body.split("\n");
  return {
    canonical: bytesOf(extra.slice("extra ".length)),
    index: BigInt(index.slice("index ".length)),
    path: path.map(bytesOf),
    body,
    size: BigInt(size),
    root: bytesOf(root),
    signatures: note.slice(split + 1).split("\n").filter((line) => line !== ""),
  };
}

/** The root to which the path leads from a leaf (RFC 6962, 2.1.1). */
async function rootOf(leaf, { index, size, path }) {
  if (index >= size) throw new Error("the checkpoint does not cover the entry");
  const isRight = [];
  let [begin, end] = [0n, size];
  while (end - begin > 1n) {
    const middle = begin + (1n << BigInt((end - begin - 1n).toString(2).length - 1));
    isRight.push(index >= middle);
    [begin, end] = index >= middle ? [middle, end] : [begin, middle];
  }
  if (isRight.length !== path.length) throw new Error("the path has another length than the tree");
  let hash = leaf;
  const node = Uint8Array.of(1);
  for (const [at, sibling] of path.entries()) {
    hash = isRight[isRight.length - 1 - at] ? await sha256(node, sibling, hash) : await sha256(node, hash, sibling);
  }
  return hash;
}

/** The names of the Ed25519 keys, among those with one a line, that have signed the body of a note. */
async function signersOf({ body, signatures }, keys) {
  const signers = [];
  for (const line of keys.split("\n").map((key) => key.trim()).filter((key) => key !== "")) {
    const [name, , encoded] = splitKey(line);
    if (!encoded) throw new Error(`this is not a verifier key: ${line}`);
    const key = bytesOf(encoded);
    if (key[0] !== ED25519) continue;
    const id = (await sha256(encoder.encode(`${name}\n`), key)).slice(0, 4);
    const imported = await crypto.subtle.importKey("raw", key.slice(1), { name: "Ed25519" }, false, ["verify"]);
    for (const signature of signatures) {
      const [, signer, bytes] = signature.split(" ");
      const raw = bytesOf(bytes ?? "");
      if (signer !== name || !same(raw.slice(0, 4), id)) continue;
      if (await crypto.subtle.verify("Ed25519", imported, raw.slice(4), encoder.encode(body))) signers.push(name);
    }
  }
  return signers;
}

/** The name, the id and the public key of a line `name+id+key`. */
function splitKey(line) {
  const first = line.indexOf("+");
  const second = line.indexOf("+", first + 1);
  return [line.slice(0, first), line.slice(first + 1, second), line.slice(second + 1)];
}

/** Adds a step to the list; returns whether it passed. */
function step(list, passed, text, value) {
  const item = document.createElement("li");
  item.className = passed ? "good" : "bad";
  item.append(`${passed ? "✓" : "✗"} ${text} `);
  const code = document.createElement("code");
  code.textContent = value;
  item.append(code);
  list.append(item);
  return passed;
}

async function verify(box) {
  const { dataset } = box;
  const list = box.querySelector("ol");
  list.replaceChildren();
  try {
    const answer = await fetch(dataset.proof);
    if (!answer.ok) throw new Error(`${answer.status}`);
    const proof = readProof(await answer.text());
    // The hash of the entry before is a part of the text, and goes in front of it.
    const entryText = JSON.parse(new TextDecoder().decode(proof.canonical));
    const entry = await sha256(encoder.encode(entryText.previous_hash), proof.canonical);
    step(list, hexOf(entry) === dataset.hash, dataset.entryStep, hexOf(entry));
    const isThis = proof.index === BigInt(dataset.sequence) - 1n && String(entryText.sequence) === dataset.sequence;
    const leaf = await sha256(Uint8Array.of(0), entry);
    step(list, isThis, dataset.leafStep, hexOf(leaf));
    const root = await rootOf(leaf, proof);
    step(list, same(root, proof.root), dataset.rootStep, hexOf(root));
    const signers = await signersOf(proof, box.querySelector("textarea").value);
    step(list, signers.length > 0, dataset.signatureStep, signers.join(", "));
    const isProved = list.querySelector(".bad") === null;
    step(list, isProved, isProved ? dataset.proved : dataset.disproved, "");
  } catch (error) {
    step(list, false, dataset.disproved, error.message);
  }
}

for (const box of document.querySelectorAll(".verify")) {
  const button = box.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => verify(box));
}
