// The examples as buttons; the address of the page names the one that was picked.
const box = element.querySelector(".ttc-gallery");
function draw() {
  box.replaceChildren();
  for (const example of props.value || []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "ttc-example";
    button.dataset.example = example.name;
    if (example.picture) {
      const picture = document.createElement("img");
      picture.src = example.picture;
      picture.alt = "";
      button.append(picture);
    } else {
      const lines = document.createElement("span");
      lines.className = "ttc-lines";
      lines.textContent = example.text;
      lines.setAttribute("aria-hidden", "true");
      button.append(lines);
    }
    const label = document.createElement("span");
    label.className = "ttc-label";
    label.textContent = example.labels[document.documentElement.lang.startsWith("zh") ? 1 : 0];
    button.append(label);
    box.append(button);
  }
}
draw();
watch("value", draw);
window.addEventListener("ttc-language", draw);
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (!button) return;
  const address = new URL(location);
  address.searchParams.set("example", button.dataset.example);
  history.replaceState(null, "", address);
  trigger("select", { example: button.dataset.example });
});
