// What a page shows, as lines, and the elements that can be acted on, by number.
// Rule: looking changes nothing in the page; the numbers live in the array that is returned, not in the document.
({ every, skip, limit, attribute }) => {
  const lines = [], elements = [];
  let size = 0, above = 0, full = false;
  const judged = attribute && document.querySelector(`[${CSS.escape(attribute)}]`);
  const OWN_ROLE = {
    A: "link", BUTTON: "button", SELECT: "combobox", TEXTAREA: "textbox", SUMMARY: "button", OPTION: "option",
    IMG: "image", IFRAME: "frame", CANVAS: "canvas",
  };
  const INPUT_ROLE = {
    button: "button", submit: "button", reset: "button", image: "button", checkbox: "checkbox", radio: "radio",
    range: "slider", number: "spinbutton", file: "file",
  };
  const ACTIVE = new Set(["link", "button", "checkbox", "radio", "textbox", "combobox", "slider", "spinbutton", "tab",
    "menuitem", "option", "switch", "listbox", "searchbox", "treeitem", "file"]);
  const SHAPES = new Set(["rect", "circle", "ellipse", "polygon", "path", "line", "polyline", "text"]);
  const SILENT = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "HEAD", "OPTION", "OPTGROUP"]);

  const squeeze = (text) => (text || "").replace(/\s+/g, " ").trim();
  const quote = (text) => JSON.stringify(squeeze(text).slice(0, 200));
  const shown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  };
  const role = (element) => {
    const given = element.getAttribute("role");
    if (given && !["presentation", "none", "generic"].includes(given)) return given.split(" ")[0];
    if (element.tagName === "A" && !element.hasAttribute("href")) return "";
    if (element.tagName === "INPUT") return INPUT_ROLE[element.type] || (element.type === "hidden" ? "" : "textbox");
    if (/^H[1-6]$/.test(element.tagName)) return "heading";
    return OWN_ROLE[element.tagName] || (element.isContentEditable && element.contentEditable === "true" ? "textbox" : "");
  };
  const label = (element) => {
    const by = (element.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean)
      .map((id) => element.getRootNode().getElementById?.(id)?.textContent);
    const labels = [...(element.labels || [])].map((l) => l.textContent);
    const inner = ["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName) ? "" : element.textContent;
    const value = ["submit", "button", "reset"].includes(element.type) ? element.value : "";
    return [element.getAttribute("aria-label"), by.join(" "), value, labels.join(" "), inner, element.getAttribute("alt"),
      element.getAttribute("placeholder"), element.getAttribute("title"), element.getAttribute("name"), element.id]
      .map(squeeze).find(Boolean) || "";
  };
  const state = (element, kind) => {
    const told = [];
    if (kind === "checkbox" || kind === "radio" || kind === "switch") {
      const on = "checked" in element ? element.checked : element.getAttribute("aria-checked") === "true";
      if (on) told.push("checked");
    }
    if (element.tagName === "SELECT") {
      const options = [...element.options].slice(0, 60).map((o) => quote(o.label) + (o.selected ? " (selected)" : ""));
      told.push("options " + options.join(", "));
    } else if (["textbox", "searchbox", "spinbutton", "slider"].includes(kind) && element.type !== "password") {
      const value = "value" in element ? element.value : element.textContent;
      if (value) told.push("value " + quote(value));
    } else if (element.type === "password" && element.value) told.push("filled");
    if (element.type && ["date", "time", "month", "color", "datetime-local", "week"].includes(element.type)) told.push(element.type);
    if (element.disabled || element.getAttribute("aria-disabled") === "true") told.push("disabled");
    if (element.readOnly) told.push("readonly");
    for (const name of ["expanded", "selected", "pressed"]) {
      if (element.getAttribute("aria-" + name) === "true") told.push(name);
    }
    if (element === document.activeElement && element !== document.body) told.push("focused");
    return told.join(" ");
  };
  const add = (element, text, numbered) => {
    const box = element.getBoundingClientRect();
    if (box.bottom <= 0) { above += 1; return; }
    if (size + text.length > limit) { full = true; return; }
    let line = text;
    if (numbered) {
      elements.push(element);
      line = `[${elements.length}] ${text}`;
    }
    size += line.length + 1;
    lines.push(line);
  };
  const shape = (element) => {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const colour = style.fill !== "none" ? style.fill : style.stroke;
    const place = `${Math.round(box.width)}x${Math.round(box.height)} at ${Math.round(box.left)},${Math.round(box.top)}`;
    return `${element.tagName} ${squeeze(element.textContent) ? quote(element.textContent) + " " : ""}${colour} ${place}`;
  };
  const pointed = (element) => element.parentElement && getComputedStyle(element).cursor === "pointer"
    && getComputedStyle(element.parentElement).cursor !== "pointer";

  const walk = (node) => {
    if (full) return;
    if (node.nodeType === Node.TEXT_NODE) {
      const text = squeeze(node.data), parent = node.parentElement;
      if (text && parent && shown(parent)) add(parent, every ? `text ${quote(text)}` : text.slice(0, 2000), every);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE && node.nodeType !== Node.DOCUMENT_FRAGMENT_NODE) return;
    if (node.nodeType === Node.ELEMENT_NODE) {
      if (SILENT.has(node.tagName) || (skip && node.matches(skip)) || node.getAttribute("aria-hidden") === "true") return;
      if (SHAPES.has(node.tagName)) { if (shown(node)) add(node, shape(node), true); return; }
      const kind = role(node);
      if (kind && shown(node)) {
        const active = ACTIVE.has(kind) || pointed(node);
        if (active || kind === "heading" || kind === "image" || kind === "frame" || kind === "canvas") {
          const told = state(node, kind), name = label(node);
          add(node, [kind, name && quote(name), told].filter(Boolean).join(" "), active || every);
          if (!["listbox"].includes(kind) && !(active && node.querySelector("a[href],button,input,select,textarea"))) return;
        }
      } else if (node.onclick || node.hasAttribute("onclick") || node.tabIndex >= 0 || pointed(node)) {
        const inside = node.querySelector("a[href],button,input,select,textarea,[onclick]");
        if (shown(node) && !inside && !node.shadowRoot) {
          const told = [squeeze(node.textContent) || node.getAttribute("title") || node.id || node.className];
          add(node, `item ${quote(String(told[0]))}`, true);
          if (!every || !node.firstElementChild) return;
        }
      } else if (every && !node.childNodes.length && shown(node) && (node.id || node.className)) {
        add(node, `${node.tagName.toLowerCase()} ${quote(String(node.id || node.className))}`, true);
        return;
      }
    }
    for (const child of (node.shadowRoot || node).childNodes) walk(child);
  };
  if (document.body) walk(document.body);
  const notes = [];
  if (above) notes.push(`(${above} lines above: scroll up)`);
  notes.push(...lines);
  if (full) notes.push("(more below: scroll down)");
  const reward = judged ? judged.getAttribute(attribute) : null;
  return { text: notes.join("\n"), url: location.href, title: document.title.slice(0, 200), elements, reward };
}
