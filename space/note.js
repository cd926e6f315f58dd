// A message: spoken at once if it refuses something, politely else.
const box = element.querySelector(".ttc-note");
function draw() {
  const value = props.value || {};
  box.replaceChildren();
  const text = document.createElement("p");
  text.textContent = value.text || "";
  text.hidden = !value.text;
  text.className = value.alert ? "ttc-alert" : "ttc-status";
  box.setAttribute("role", value.alert ? "alert" : "status");
  box.append(text);
}
draw();
watch("value", draw);
