// The frame with its boxes of pixels: dragging draws one, its button takes it away.
const box = element.querySelector(".ttc-editor");
let start = null; // where a drag began, in shares of the picture
let drawn = null; // the outline of the drag

function at(event) {
  const area = box.querySelector("img").getBoundingClientRect();
  const share = (value, from, length) => Math.min(1, Math.max(0, (value - from) / length));
  return [share(event.clientX, area.left, area.width), share(event.clientY, area.top, area.height)];
}

function between([x1, y1], [x2, y2]) {
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

function keep(boxes) {
  props.value = { ...props.value, boxes };
  draw();
  trigger("input");
}

function draw() {
  box.replaceChildren();
  const view = props.value;
  if (!view || !view.picture) return;
  const image = make("img", "");
  image.src = view.picture;
  image.alt = word("frame");
  image.draggable = false;
  const figure = make("div", "ttc-frame ttc-drawable", image);
  view.boxes.forEach(([x1, y1, x2, y2], number) => {
    const remove = makeButton("ttc-remove", word("remove_head") + " " + (number + 1), "×");
    remove.addEventListener("click", () => keep(view.boxes.filter((_, other) => other !== number)));
    const outline = make("div", "ttc-box", make("span", "ttc-badge", String(number + 1)), remove);
    place(outline, [x1 / view.width, y1 / view.height, x2 / view.width, y2 / view.height]);
    figure.append(outline);
  });
  box.append(figure, make("p", "ttc-fine", word("draw_boxes")));
}

draw();
watch("value", draw);
window.addEventListener("ttc-language", draw);
box.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".ttc-drawable") || event.target.tagName === "BUTTON") return;
  start = at(event);
  drawn = make("div", "ttc-box");
  box.querySelector(".ttc-drawable").append(drawn);
  box.setPointerCapture(event.pointerId);
});
box.addEventListener("pointermove", (event) => {
  if (start) place(drawn, between(start, at(event)));
});
box.addEventListener("pointercancel", () => {
  start = null;
  draw();
});
box.addEventListener("pointerup", (event) => {
  if (!start) return;
  const { width, height, boxes } = props.value;
  const [x1, y1, x2, y2] = between(start, at(event)).map((share, i) => Math.round(share * (i % 2 ? height : width)));
  start = null;
  if (x2 - x1 > 3 && y2 - y1 > 3) keep([...boxes, [x1, y1, x2, y2]]); // less is a click
  else draw();
});
