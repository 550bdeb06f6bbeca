// Elements that a screen reader could not name, and ids that are used twice.
(() => {
  const shown = (one) => one.offsetParent !== null;
  const name = (one) => one.getAttribute("aria-label") || one.textContent.trim()
    || [...(one.labels ?? [])].map((label) => label.textContent.trim()).join("") || one.title;
  const found = [...document.querySelectorAll("button, input, select, summary, canvas[role=img], [role=group], [role=region]")]
    .filter((one) => shown(one) && !name(one)).map((one) => one.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return [...found, ...ids.filter((id, at) => ids.indexOf(id) !== at)];
})()
