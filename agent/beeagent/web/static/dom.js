// Elements of the page: found by id, or made without a template. Text is always set as text, never parsed.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Set a text only where it differs: screen readers announce each change of a live region. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show a text, or hide its element where there is none. */
export function showText(element, text) {
  setText(element, text);
  element.hidden = !text;
}
