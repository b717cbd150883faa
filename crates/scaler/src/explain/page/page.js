// Fleet and timelines, read from /explain. All text goes in as text: nothing a tenant wrote is ever markup.
"use strict";

const EVERY = 5000;
const main = document.getElementById("main");
let latest = 0;

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  for (const child of [content].flat()) {
    if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}

function table(titles, rows) {
  const head = element("thead", element("tr", titles.map((title) => element("th", title, { scope: "col" }))));
  return element("table", [head, element("tbody", rows)]);
}

function cell(content, kind = "") {
  return element("td", content === null || content === undefined ? "–" : String(content), kind ? { class: kind } : {});
}

function time(text) {
  return text ? text.slice(11, 19) : "–";
}

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

function fleet(overview) {
  const rows = overview.inferenceSets.map((set) => {
    const name = `${set.namespace}/${set.name}`;
    const link = element("td", element("a", name, { href: `#/${name}` }));
    const wish = set.desired === undefined || set.desired === set.specReplicas ? "" : set.desired > set.specReplicas ? "up" : "down";
    return element("tr", [
      link,
      cell(set.specReplicas, "number"),
      cell(set.statusReplicas, "number"),
      cell(set.desired, "number wish"),
      cell(time(set.moved), "number"),
      cell(set.reason ?? "no decision yet"),
    ], { class: wish });
  });
  const parts = [table(["InferenceSet", "ordered", "counted", "wanted", "moved", "why"], rows)];
  if (overview.more > 0) {
    const last = overview.inferenceSets[overview.inferenceSets.length - 1];
    const next = element("a", `${overview.more} more`, { href: `#?after=${last.namespace}/${last.name}` });
    parts.push(element("p", next));
  }
  return parts;
}

function answer(told) {
  return told.value !== undefined ? told.value : `nothing: ${told.unavailable}`;
}

function decision(entry) {
  const moves = entry.moves.map((move) => `${move.from} → ${move.to} at ${time(move.at)}`).join(", ");
  const wish = entry.desired === undefined || entry.desired === entry.specReplicas ? "" : entry.desired > entry.specReplicas ? "up" : "down";
  return element("tr", [
    cell(`${time(entry.since)} – ${time(entry.until)}`, "number"),
    cell(entry.id, "id"),
    cell(entry.specReplicas, "number"),
    cell(entry.lastDesired ?? entry.desired, "number wish"),
    cell(answer(entry.lastAnswer ?? entry.answer), "number"),
    cell([entry.reason, ...entry.clamps].join("; held by: ")),
    cell(moves || "", "moves"),
  ], { class: wish });
}

function replica(part) {
  const age = part.sampleSeconds === undefined ? null : part.sampleSeconds.toFixed(1);
  const values = part.values.map((value) => (value === null ? "?" : value)).join(", ");
  return element("tr", [cell(part.workspace), cell(part.state), cell(age, "number"), cell(values, "number")]);
}

function story(trigger) {
  const parts = [element("h2", `${trigger.aggregation} of ScaledObject ${trigger.scaledObject}, ${trigger.minReplicas} to ${trigger.maxReplicas} replicas`)];
  if (trigger.current) {
    parts.push(element("p", trigger.current.reason));
    const titles = ["replica", "state", "sample's age, s", trigger.thresholds.map((threshold) => threshold.metric).join(", ")];
    parts.push(table(titles, trigger.current.replicas.map(replica)));
  }
  const call = trigger.lastCall;
  parts.push(element("p", call ? `KEDA was told ${answer(call.answer)} at ${time(call.at)}` : "KEDA has not asked this replica of the scaler"));
  parts.push(table(["when", "decision", "ordered", "wanted", "answer", "why", "then"], trigger.decisions.map(decision)));
  return parts;
}

function explanation(told) {
  const path = `/explain/${told.namespace}/${told.name}`;
  const picture = element("img", null, { src: `${path}?output=svg&at=${latest}`, alt: "metrics and replicas over time" });
  return [element("h2", `${told.namespace}/${told.name}: ${told.specReplicas ?? "no"} replicas`), picture, ...told.triggers.flatMap(story)];
}

async function show() {
  const mine = ++latest;
  const place = location.hash.slice(1);
  try {
    let parts;
    let told;
    if (place.startsWith("/")) {
      told = await get(`/explain${place}`);
      parts = explanation(told);
    } else {
      told = await get(`/explain${place}`);
      parts = fleet(told);
    }
    if (mine !== latest) return;
    main.replaceChildren(...parts);
    document.getElementById("told").textContent = `${told.at.slice(0, 19).replace("T", " ")} UTC, as ${told.toldBy} knows it`;
  } catch (error) {
    if (mine === latest) main.replaceChildren(element("p", `cannot be shown: ${error.message}`, { class: "error" }));
  }
}

window.addEventListener("hashchange", show);
setInterval(show, EVERY);
show();
