/** Elements, made in one call. */

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on...` are listeners, false and null attributes are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An element of SVG, without attributes. */
export const makeSvg = (tag) => document.createElementNS(SVG, tag);

/** An SVG path. */
export function makePath(classes, d, stroke = null) {
  const path = makeSvg("path");
  path.setAttribute("class", classes);
  path.setAttribute("d", d);
  if (stroke) path.setAttribute("stroke", stroke);
  return path;
}

/** A button; `label` says what it does where its text is short. */
export function makeButton(text, onclick, label = null) {
  return make("button", { type: "button", onclick, "aria-label": label, title: label }, text);
}
