/** The CAM methods, in menus and in words; what is known of them comes from the service. */

import { make } from "./dom.js";
import { DEFAULT_METHOD, FUSIONS, METHODS } from "./facts.js";

/** How people write the name of a method, or of a way to make the fused map; else the name. */
export const labelOf = (name) =>
  [...METHODS, ...FUSIONS].find((one) => one.name === name)?.label ?? name;

/** What a method does, as a sentence; "": that none is chosen. */
export function aboutMethod(name) {
  const said = name ? METHODS.find((one) => one.name === name)?.sentence : withoutChoice();
  return said ? `${said.charAt(0).toUpperCase()}${said.slice(1)}.` : "";
}

const withoutChoice = () =>
  `${labelOf(DEFAULT_METHOD)} for single layers; fused: ${FUSIONS[0].sentence}`;

/** The options of a menu of methods. */
export const methodOptions = () =>
  METHODS.map(({ name, label }) => make("option", { value: name, title: aboutMethod(name) }, label));
