/** What was read of the model's file, and where each fact is from. */

import { api, el } from "../../shared/api.js";
import { breakable } from "../../shared/models.js";

const FACTS = [
  ["Architecture", "architecture", ({ read }) => `${read.architecture}${naming(read)}`],
  ["Classes", "class_names", ({ classes }) => classes?.join(", ") ?? "not named"],
  ["Head", null, ({ read }) => `${read.head}: ${read.head_layers}`],
  ["Input", "input_size", ({ input_size: size }) => (size ? `${size.join(" × ")} px` : "not known")],
  ["Mean", "mean", ({ read }) => read.mean.map(short).join(", ")],
  ["Deviation", "std", ({ read }) => read.std.map(short).join(", ")],
];

let shown = null;

/** Show it beneath the answer, once it is known; nothing where it cannot be asked for. */
export async function showReading(place, modelId) {
  if (shown === modelId) return;
  shown = modelId;
  let model = null;
  try {
    const id = modelId.split("/").map(encodeURIComponent).join("/");
    model = await api(`/v1/models/${id}`, { as: "json" });
  } catch {
    shown = null;
  }
  if (shown !== modelId) return;
  place.hidden = !model?.read;
  if (!place.hidden) place.replaceChildren(el("summary", {}, "What was read of the model"), ...told(model));
}

function told(model) {
  const { sources, notices, remarks } = model.read;
  const rows = FACTS.map(([name, source, text]) => {
    const from = sources[source];
    const origin = from ? [el("span", { className: "soft" }, ` (${from})`)] : [];
    return [el("dt", {}, name), el("dd", {}, ...breakable(text(model)), ...origin)];
  });
  const said = [...notices, ...remarks].map((one) => el("li", {}, one));
  return [el("dl", {}, ...rows.flat()), ...(said.length ? [el("ul", {}, ...said)] : [])];
}

const naming = ({ naming: name }) => (name === "file" ? "" : ` (${name} naming)`);

const short = (value) => Number(value.toPrecision(3)).toString();
