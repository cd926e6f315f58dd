// The dialogue as rows of [speaker, words]. Enter adds a row below, Backspace takes an empty one away; a chat of several
// lines pasted into a row becomes rows, split by the server.
const box = element.querySelector(".ttc-dialogue");
const list = make("ol", "ttc-rows");
const add = makeButton("ttc-add", "");
add.addEventListener("click", () => insert(list.children.length, [["", ""]]));
box.append(list, add);

function rows() {
  return [...list.children].map((row) => [...row.querySelectorAll("input, textarea")].map((field) => field.value));
}

function field(tag, className, value) {
  const node = make(tag, className);
  node.value = value;
  node.autocomplete = "off";
  return node;
}

function makeRow([speaker, words]) {
  const name = field("input", "ttc-name", speaker);
  const text = field("textarea", "ttc-text", words);
  text.rows = 1;
  const remove = makeButton("ttc-remove", "", "×");
  remove.addEventListener("click", () => drop(remove.parentElement));
  return make("li", "ttc-utterance", name, text, remove);
}

function label() {
  add.textContent = "+ " + word("add_line");
  [...list.children].forEach((row, at) => {
    const [name, text, remove] = row.children;
    name.setAttribute("aria-label", word("speaker") + " " + (at + 1));
    text.setAttribute("aria-label", word("line") + " " + (at + 1));
    remove.setAttribute("aria-label", word("remove_line") + " " + (at + 1));
    text.placeholder = at === 0 ? word("paste_here") : "";
  });
}

function keep() {
  label();
  props.value = rows();
  trigger("input");
}

function insert(at, added) {
  const before = rows();
  const turn = at > 1 ? before[at - 2][0] : ""; // two take turns, until the visitor says otherwise
  const nodes = added.map(([speaker, words]) => makeRow([speaker || turn, words]));
  if (at < list.children.length) list.children[at].before(...nodes);
  else list.append(...nodes);
  keep();
  nodes.at(-1).querySelector("textarea").focus();
}

function drop(row) {
  const next = row.previousElementSibling || row.nextElementSibling;
  row.remove();
  if (!next) return insert(0, [["A", ""]]);
  keep();
  next.querySelector("textarea").focus();
}

async function paste(row, text) {
  const added = await server.split_chat(text);
  const empty = [...list.children].filter((row) => !row.querySelector("textarea").value.trim());
  insert([...list.children].indexOf(row) + 1, added);
  empty.forEach((row) => row.remove());
  keep();
}

function draw() {
  const value = props.value || [];
  if (JSON.stringify(value) !== JSON.stringify(rows())) list.replaceChildren(...value.map(makeRow));
  label();
}

draw();
watch("value", draw);
window.addEventListener("ttc-language", label);
list.addEventListener("input", keep);
list.addEventListener("paste", (event) => {
  const text = event.clipboardData.getData("text/plain");
  if (!text.includes("\n")) return;
  event.preventDefault();
  paste(event.target.closest("li"), text);
});
list.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter chooses a word of a Chinese input method
  const row = event.target.closest("li");
  if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    insert([...list.children].indexOf(row) + 1, [["", ""]]);
  } else if (event.key === "Backspace" && event.target.tagName === "TEXTAREA" && !event.target.value && list.children[1]) {
    event.preventDefault();
    drop(row);
  }
});
