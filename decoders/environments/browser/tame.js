// Before any script of a page runs: everything stays in the one tab that the agent sees.
(() => {
  const here = (element) => { if (element && element.target) element.target = "_self"; };
  window.open = (url) => { if (url) location.assign(url); return null; };
  addEventListener("click", (event) => here(event.composedPath().find((n) => n instanceof HTMLAnchorElement)), true);
  addEventListener("submit", (event) => here(event.target), true);
})();
