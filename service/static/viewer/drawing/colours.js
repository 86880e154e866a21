/** The colour maps. */

import { COLOURS, DEFAULTS } from "../common/facts.js";

/** Their names, in the order of menus. */
export const COLORMAPS = Object.keys(COLOURS);

const tableBytes = new Map();

/** (256 x 3) bytes RGB of a colour map; of the default where the name is unknown. */
export function coloursOf(name) {
  const known = Object.hasOwn(COLOURS, name) ? name : DEFAULTS.colormap;
  if (!tableBytes.has(known)) {
    tableBytes.set(known, Uint8Array.from(atob(COLOURS[known]), (one) => one.charCodeAt(0)));
  }
  return tableBytes.get(known);
}
