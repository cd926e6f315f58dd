// The result of a dialogue: who is meant in the words, which head it is, and when it is to be seen.
// Every node is built here and every text set as text.
const root = element.querySelector(".ttc-result");
let pinned = 0; // the cluster that is lit up where nothing is pointed at

function percent(score) {
  return score >= 0.995 && score < 1 ? ">99%" : Math.round(100 * score) + "%";
}

function badge(number) {
  return make("span", "ttc-badge", String(number + 1));
}

function picture(head, className) {
  const image = make("img", className);
  image.src = head.picture;
  image.alt = word("head") + " " + (head.id + 1);
  return image;
}

function colourOf(view, head) {
  const first = view.heads[head].clusters[0];
  return first === undefined ? "ttc-nobody" : "c" + view.clusters[first].color;
}

// The dialogue

function drawNodes(nodes, into) {
  for (const node of nodes) {
    if (typeof node === "string") {
      into.append(node);
      continue;
    }
    const mention = make("mark", "ttc-mention c" + node.color);
    mention.dataset.c = node.cluster;
    mention.tabIndex = 0;
    mention.append(make("sup", "ttc-number", String(node.cluster + 1)));
    drawNodes(node.children, mention);
    into.append(mention);
  }
}

function drawTalk(view) {
  const section = make("section", "ttc-talk");
  section.append(make("h2", "", word("chat")));
  if (view.title) section.append(make("p", "ttc-title", view.title));
  for (const line of view.lines) {
    const row = make("p", "ttc-line", make("span", "ttc-speaker", line.speaker));
    const words = make("span", "ttc-words");
    drawNodes(line.nodes, words);
    row.append(words);
    section.append(row);
  }
  return section;
}

// Who is meant

function drawPeople(view) {
  const section = make("section", "ttc-people", make("h2", "", word("persons")));
  if (!view.clusters.length) section.append(make("p", "", word("nobody")));
  const list = make("ul", "ttc-chips");
  for (const cluster of view.clusters) {
    const chip = make("button", "ttc-chip c" + cluster.color, badge(cluster.id), make("span", "", cluster.name));
    chip.type = "button";
    chip.dataset.c = cluster.id;
    if (cluster.region !== null && cluster.region !== undefined) {
      chip.append(picture(view.heads[cluster.region], "ttc-tiny"));
    } else if (view.pictured) {
      chip.append(make("span", "ttc-absent", word("not_in_picture")));
    }
    list.append(make("li", "", chip));
  }
  section.append(list);
  return section;
}

function drawBar(label, score, chosen) {
  const bar = make("span", "ttc-bar", make("span", ""));
  bar.firstChild.style.width = 100 * score + "%";
  return make("li", chosen ? "ttc-chosen" : "", label, bar, make("span", "ttc-score", percent(score)));
}

function drawDetail(view, number, into) {
  into.replaceChildren();
  const cluster = view.clusters[number];
  if (!cluster) return;
  const card = make("div", "ttc-card c" + cluster.color);
  card.append(make("h3", "", badge(number), make("span", "", cluster.name)));
  card.append(make("h4", "", word("mentions")));
  const said = make("ul", "ttc-said");
  for (const mention of cluster.mentions) {
    said.append(make("li", "", mention.text, make("span", "ttc-score", percent(mention.score))));
  }
  card.append(said);
  if (cluster.ranking.length) {
    card.append(make("h4", "", word("ranking")));
    const rows = cluster.ranking.map((rank) => ({
      score: rank.score,
      row: () => drawBar(picture(view.heads[rank.head], "ttc-tiny"), rank.score, rank.head === cluster.region),
    }));
    rows.push({
      score: cluster.none,
      row: () => drawBar(make("span", "ttc-absent", word("not_in_picture")), cluster.none, cluster.region === null),
    });
    rows.sort((a, b) => b.score - a.score);
    card.append(make("ol", "ttc-ranking", ...rows.map((entry) => entry.row())));
  }
  into.append(card);
}

// The picture

function drawFrame(view) {
  const image = make("img", "");
  image.src = view.frame.picture;
  image.alt = word("frame");
  const figure = make("div", "ttc-frame", image);
  for (const { head, box } of view.frame.boxes) {
    const clusters = view.heads[head].clusters;
    const outline = make("div", "ttc-box " + colourOf(view, head), ...clusters.map(badge));
    outline.dataset.c = clusters.join(" ");
    outline.dataset.head = head;
    place(outline, box);
    figure.append(outline);
  }
  return make("section", "", make("h2", "", word("frame")), figure);
}

function drawHeads(view) {
  const list = make("ul", "ttc-heads");
  for (const head of view.heads) {
    const item = make("li", "ttc-head " + colourOf(view, head.id), picture(head, ""), ...head.clusters.map(badge));
    item.dataset.c = head.clusters.join(" ");
    item.dataset.head = head.id;
    list.append(item);
  }
  return make("section", "", make("h2", "", word("heads")), list);
}

function drawTimeline(view) {
  const section = make("section", "ttc-timeline", make("h2", "", word("timeline")));
  const end = view.timeline.seconds || 1;
  for (const row of view.timeline.rows) {
    const spans = row.spans.map(([from, to]) => from.toFixed(1) + "–" + to.toFixed(1) + " " + word("seconds"));
    const bar = make("div", "ttc-track");
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", word("head") + " " + (row.head + 1) + ": " + spans.join(", "));
    bar.title = spans.join(", ");
    for (const [from, to] of row.spans) {
      const span = make("span", "");
      span.style.left = (100 * from) / end + "%";
      span.style.width = Math.max(0.7, (100 * (to - from)) / end) + "%";
      bar.append(span);
    }
    const line = make("div", "ttc-row " + colourOf(view, row.head), picture(view.heads[row.head], "ttc-tiny"), bar);
    line.dataset.c = view.heads[row.head].clusters.join(" ");
    section.append(line);
  }
  section.append(make("p", "ttc-axis", make("span", "", "0"), make("span", "", end.toFixed(1) + " " + word("seconds"))));
  return section;
}

// The whole

function drawFooter(view) {
  const download = make("button", "ttc-link", word("download"));
  download.type = "button";
  download.addEventListener("click", () => {
    const link = make("a", "");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(view.json, null, 1)], { type: "application/json" }));
    link.download = "tiktalkcoref.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  const footer = make("p", "ttc-footer", download);
  if (view.example) {
    const link = make("a", "ttc-link", word("link"));
    link.href = "?example=" + encodeURIComponent(view.example);
    footer.append(link);
  }
  return footer;
}

function light(clusters) {
  const wanted = new Set(clusters.map(String));
  for (const node of root.querySelectorAll("[data-c]")) {
    const on = node.dataset.c.split(" ").some((c) => wanted.has(c));
    node.classList.toggle("ttc-on", on);
    if (node.tagName === "BUTTON") node.setAttribute("aria-pressed", String(Number(node.dataset.c) === pinned));
  }
  const detail = root.querySelector(".ttc-detail");
  if (detail) drawDetail(props.value, Number(clusters[0] ?? pinned), detail);
}

function draw() {
  const view = props.value;
  root.replaceChildren();
  if (!view || !view.lines) {
    root.append(make("p", "ttc-empty", word("empty")));
    return;
  }
  pinned = Math.max(0, view.clusters.findIndex((cluster) => cluster.region !== null && cluster.region !== undefined));
  const left = make("div", "ttc-left", drawTalk(view), drawPeople(view));
  const right = make("div", "ttc-right");
  if (view.frame) right.append(drawFrame(view));
  if (view.heads.length) right.append(drawHeads(view));
  if (view.timeline) right.append(drawTimeline(view));
  right.append(make("section", "ttc-detail"));
  root.append(make("div", "ttc-columns", left, right), drawFooter(view));
  light([pinned]);
}

function pointed(event) {
  const node = event.target.closest("[data-c]");
  return node && node.dataset.c !== "" ? node.dataset.c.split(" ") : null;
}

draw();
watch("value", draw);
window.addEventListener("ttc-language", draw);
for (const kind of ["mouseover", "focusin"]) {
  element.addEventListener(kind, (event) => {
    const clusters = pointed(event);
    if (clusters) light(clusters);
  });
}
element.addEventListener("mouseleave", () => light([pinned]));
function pin(event) {
  const clusters = pointed(event);
  if (!clusters) return;
  pinned = Number(clusters[0]);
  light([pinned]);
}
element.addEventListener("click", pin);
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.tagName !== "BUTTON") pin(event);
});
