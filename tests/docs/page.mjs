// What the page of docs/portal.md needs of a browser, for Node: three elements, and no more.
import { readFile } from "node:fs/promises";

class Element extends EventTarget {
  files = [];
  src = "";
  textContent = "";
}

const elements = { "#cell": new Element(), "#overlay": new Element(), "#said": new Element() };
globalThis.document = { querySelector: (selector) => elements[selector] };

const [script, image] = process.argv.slice(2);
const { explainInOne } = await import(script);
const { "#cell": cell, "#overlay": overlay, "#said": said } = elements;

async function choose(file) {
  said.textContent = "";
  cell.files = [file];
  cell.dispatchEvent(new Event("change"));
  while (!said.textContent) await new Promise((resolve) => setTimeout(resolve, 20));
  return said.textContent;
}

const file = new File([await readFile(image)], "cell.jpg");
const shown = await choose(file);
const { name, source } = await explainInOne(file);
const first = new Uint8Array(await (await fetch(overlay.src)).arrayBuffer()).slice(0, 4);
const refused = await choose(new File(["no image"], "notes.txt"));
console.log(JSON.stringify({ shown, overlay: [...first], name, source: source.slice(0, 26), refused }));
