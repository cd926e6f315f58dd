// What the scripts share: the texts of the language, nodes whose text is text, and boxes as shares of a picture.
function word(key) {
  return WORDS[document.documentElement.lang.startsWith("zh") ? "zh" : "en"][key];
}

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children); // strings become text nodes
  return node;
}

function makeButton(className, label, ...children) {
  const button = make("button", className, ...children);
  button.type = "button";
  if (label) button.setAttribute("aria-label", label);
  return button;
}

function place(node, [x1, y1, x2, y2]) {
  Object.assign(node.style, {
    left: 100 * x1 + "%", top: 100 * y1 + "%", width: 100 * (x2 - x1) + "%", height: 100 * (y2 - y1) + "%",
  });
}
