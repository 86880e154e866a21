/** The CAM methods, in menus and in words; what is known of them comes from the service. */

import { make } from "./dom.js";
import { DEFAULT_METHOD, FUSED_METHOD, METHODS } from "./facts.js";

/** A method's name as people write it; the name itself where it is unknown. */
export const labelOf = (name) => METHODS.find((one) => one.name === name)?.label ?? name;

/** What a method does, as a sentence; "": that none is chosen. */
export function aboutMethod(name) {
  const said = name ? METHODS.find((one) => one.name === name)?.sentence : withoutChoice();
  return said ? `${said.charAt(0).toUpperCase()}${said.slice(1)}.` : "";
}

const withoutChoice = () =>
  `${labelOf(DEFAULT_METHOD)} for single layers, ${labelOf(FUSED_METHOD)} for the fused map`;

/** The options of a menu of methods. */
export const methodOptions = () =>
  METHODS.map(({ name, label }) => make("option", { value: name, title: aboutMethod(name) }, label));
