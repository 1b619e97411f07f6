// Elements and text. Text only ever becomes a text node, so nothing in the register can be markup.

export const $ = (id) => document.getElementById(id);

/** Return a new element; a property that begins with "on" is a listener, others are attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(
    ...children.flat().filter((child) => child !== false && child != null && child !== ""),
  );
  return element;
}

/** Set an element's text, touching the page only when it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace an element's children unless they are these already; focus in a [data-key] survives. */
export function fill(element, children) {
  const same = children.length === element.childNodes.length;
  if (same && children.every((child, i) => child === element.childNodes[i])) return;
  const focused = element.contains(document.activeElement) && document.activeElement;
  const key = focused ? focused.closest("[data-key]")?.dataset.key : undefined;
  element.replaceChildren(...children);
  if (!focused || document.activeElement === focused) return;
  const keyed = [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  const target = keyed?.matches("a, button") ? keyed : keyed?.querySelector("a, button");
  (target ?? element.closest("[tabindex]"))?.focus({ preventScroll: true });
}

/** Remember what was built under a key and build anew only when what it shows has changed. */
export function memo(build) {
  const built = new Map();
  return (key, signature, ...arguments_) => {
    const known = built.get(key);
    if (known?.signature === signature) return known.element;
    if (built.size > 2000) built.clear();
    const element = build(...arguments_);
    element.dataset.key = key;
    built.set(key, { signature, element });
    return element;
  };
}
