"use strict";
// Draws the charts of a report. The compressed JSON block `data` has one entry for each chart, in the order of the page:
// {traces, layout} of plotly.js, or {explorer}, see `mnv2search/report/search/explorer.py`.

const root = document.documentElement;
const colorOf = (name) => getComputedStyle(root).getPropertyValue(name).trim();

/** Replaces every string such as "--front" in a value by the value of that variable of the style sheet. */
function themed(value) {
  if (typeof value === "string") return value.startsWith("--") ? colorOf(value) : value;
  if (Array.isArray(value)) return value.map(themed);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, themed(one)]));
}

/** An element with properties and children; strings become text nodes, so that no text is interpreted as HTML. */
function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Escapes text for plotly.js, which interprets some HTML. */
const plain = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

function layoutOf(own) {
  const axis = (more = {}) => ({
    gridcolor: "--grid",
    zeroline: false,
    linecolor: "--edge",
    automargin: true,
    ...more,
  });
  const axes = Object.fromEntries(
    Object.entries({ xaxis: {}, yaxis: {}, ...own })
      .filter(([key]) => /^[xy]axis/.test(key))
      .map(([key, one]) => [key, axis(one)]),
  );
  return themed({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: "--ink", family: "system-ui, sans-serif", size: 13 },
    margin: { l: 50, r: 12, t: 12, b: 45 },
    hovermode: "closest",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { align: "left", bgcolor: "--panel", bordercolor: "--edge", font: { color: "--ink" } },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...own,
    ...axes,
  });
}

const CONFIG = { responsive: true, displayModeBar: false };

function drawChart(at, { traces, layout }) {
  Plotly.react(at, themed(traces), layoutOf(layout), CONFIG);
}

/** Creates the chart of all networks and the panel of the selected one; returns the function that draws both again. */
function explore(section, data) {
  const { axes, groups, networks } = data;
  const keys = ["at", "row", "output", "scale", "params", "madds", "memory", "predicted", "measured"];
  const stageOf = (values) =>
    Object.fromEntries(keys.map((key, i) => [key, i < 4 ? data.lines[values[i]] : values[i]]));
  for (const network of networks) network.stages = network.stages.map(stageOf);
  const state = { x: data.x, y: data.y, selected: data.selected, other: data.other, side: "", params: "", size: "" };
  const plot = el("div", { className: "plot", tabIndex: 0 });
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", "Chart of networks: arrow keys select a network, c marks it as the one to compare with");
  const panel = el("div", { className: "panel" });
  const count = el("output");
  const labelOf = (network) => (data.runs.length > 1 ? `${network.name} (${data.runs[network.run]})` : network.name);
  const keyOf = (network) => (data.runs.length > 1 ? `${data.runs[network.run]}/${network.name}` : network.name);
  const value = (network, key) => network.at[key];
  const isDrawn = (network) => value(network, state.x) && value(network, state.y);
  const passes = (network) =>
    (!state.side || network.side === state.side) &&
    ["params", "size"].every(
      (key) => !state[key] || (value(network, key) && value(network, key)[0] <= Number(state[key])),
    );

  function field(text, input) {
    return el("label", {}, text, input);
  }
  function chooser(key, options, onChange) {
    const made = el("select", { name: key }, ...options.map(([v, text]) => el("option", { value: v }, text)));
    made.value = state[key];
    made.addEventListener("change", () => {
      state[key] = made.value;
      onChange();
    });
    return made;
  }
  function limit(key, placeholder) {
    const made = el("input", { type: "number", name: key, min: 0, step: "any", placeholder });
    made.addEventListener("input", () => {
      state[key] = made.value;
      draw();
    });
    return made;
  }
  const sides = [...new Set(networks.map((n) => n.side))].sort((a, b) => parseInt(a) - parseInt(b));
  const axisOptions = axes.map((axis) => [axis.key, axis.title]);
  section.append(
    el(
      "div",
      { className: "controls" },
      field("vertical", chooser("y", axisOptions, draw)),
      field("horizontal", chooser("x", axisOptions, draw)),
      field("side", chooser("side", [["", "all"], ...sides.map((s) => [s, `${s} px`])], draw)),
      field("most parameters, M", limit("params", "all")),
      field("most weights, MB", limit("size", "all")),
      count,
    ),
    plot,
    el(
      "p",
      { className: "notes hint" },
      "Hover over a network for details. Click to select it, or use the arrow keys while the chart has the focus. Shift-click a network to compare with it; c marks the selected network for comparison. Drag to zoom in, double-click to see all.",
    ),
    panel,
  );

  /** Published networks that have a value on the vertical axis only: lines across the chart, named in the legend. */
  function unmeasured() {
    const found = networks.filter((n) => groups[n.group].published && value(n, state.y) && !value(n, state.x));
    return found.filter((one, index) => found.findIndex((n) => n.name === one.name) === index);
  }
  const publishedLine = (index) => ({
    color: "--published",
    width: 1.5,
    dash: ["dot", "dashdot", "longdash", "longdashdot"][index % 4],
  });

  function tracesOf(shown) {
    const line = state.x === data.x && state.y === data.y;
    const traces = groups.map((group, index) => {
      const own = shown.filter((n) => n.group === index).sort((a, b) => value(a, state.x)[0] - value(b, state.x)[0]);
      return {
        type: "scatter",
        mode: group.line && line ? "lines+markers" : "markers",
        name: plain(group.title),
        visible: group.hidden ? "legendonly" : true,
        x: own.map((n) => value(n, state.x)[0]),
        y: own.map((n) => value(n, state.y)[0]),
        customdata: own.map((n) => networks.indexOf(n)),
        text: own.map((n) => [labelOf(n), ...n.said].map(plain).join("<br>")),
        hovertemplate: "%{text}<extra></extra>",
        showlegend: own.length > 0,
        marker: { color: group.color, symbol: group.symbol, size: group.size, opacity: group.line ? 1 : 0.75 },
        line: { color: group.color, width: 1.5 },
      };
    });
    for (const [index, one] of unmeasured().entries())
      traces.push({ type: "scatter", mode: "lines", name: plain(one.name), x: [null], y: [null], line: publishedLine(index) });
    for (const key of ["other", "selected"]) {
      const one = networks[state[key]];
      if (!one || !isDrawn(one)) continue;
      const bar = ([v, low, high]) => ({
        type: "data",
        symmetric: false,
        array: [high - v],
        arrayminus: [v - low],
        color: "--ink",
        thickness: 1,
      });
      const [x, y] = [value(one, state.x), value(one, state.y)];
      traces.push({
        type: "scatter",
        mode: "markers",
        x: [x[0]],
        y: [y[0]],
        error_x: bar(x),
        error_y: bar(y),
        hoverinfo: "skip",
        showlegend: false,
        marker: {
          symbol: key === "other" ? "diamond-open" : "circle-open",
          size: 17,
          color: "--ink",
          line: { width: 2, color: "--ink" },
        },
      });
    }
    return themed(traces);
  }
  function shapesOf() {
    const shapes = [],
      annotations = [];
    for (const [key, at] of Object.entries(data.budget)) {
      for (const [name, across] of [
        ["x", "y"],
        ["y", "x"],
      ]) {
        if (state[name] !== key) continue;
        shapes.push({
          type: "line",
          [`${name}0`]: at,
          [`${name}1`]: at,
          [`${across}0`]: 0,
          [`${across}1`]: 1,
          [`${across}ref`]: "paper",
          line: { color: "--limit", width: 1.5, dash: "dash" },
        });
        annotations.push({
          [name]: at,
          [across]: name === "x" ? 0 : 1,
          [`${across}ref`]: "paper",
          text: plain(`budget ${axes.find((axis) => axis.key === key).title.replace(/.*, /, `${at} `)}`),
          showarrow: false,
          font: { color: "--limit" },
          xanchor: "right",
          yanchor: "bottom",
        });
      }
    }
    for (const [index, one] of unmeasured().entries()) {
      const y = value(one, state.y)[0];
      shapes.push({ type: "line", x0: 0, x1: 1, xref: "paper", y0: y, y1: y, line: publishedLine(index) });
    }
    return { shapes, annotations };
  }
  function visible() {
    return networks.filter((n) => passes(n) && isDrawn(n));
  }
  function draw() {
    const shown = visible();
    const without = data.runs.filter((_, run) => !shown.some((n) => n.run === run && !groups[n.group].published));
    count.textContent =
      `${shown.length} of ${networks.length} networks` +
      (data.runs.length > 1 && without.length ? `; no network of ${without.join(" and ")} is shown` : "");
    const title = (key) => ({ title: { text: plain(axes.find((axis) => axis.key === key).title), standoff: 8 } });
    Plotly.react(
      plot,
      tracesOf(shown),
      layoutOf({ xaxis: title(state.x), yaxis: title(state.y), ...shapesOf() }),
      CONFIG,
    );
    drawPanel(panel, data, state, { select, compare, labelOf });
  }
  function select(index) {
    if (!networks[index]) return;
    state.selected = index;
    history.replaceState(null, "", `#network=${encodeURIComponent(keyOf(networks[index]))}`);
    draw();
  }
  function compare(index) {
    state.other = index;
    draw();
  }
  function step(by) {
    const order = visible().sort((a, b) => value(a, state.x)[0] - value(b, state.x)[0]);
    const now = order.indexOf(networks[state.selected]);
    const next =
      by === -Infinity ? 0 : by === Infinity ? order.length - 1 : Math.min(Math.max(now + by, 0), order.length - 1);
    if (order.length) select(networks.indexOf(order[next]));
  }
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      event.preventDefault();
      step(steps[event.key]);
    }
    if (event.key === "c") compare(state.selected);
  });
  const byName = () => {
    const index = networks.findIndex((n) => location.hash === `#network=${encodeURIComponent(keyOf(n))}`);
    if (index >= 0) state.selected = index;
    return index >= 0;
  };
  byName();
  draw();
  plot.on("plotly_click", ({ points, event }) => {
    const index = points[0].customdata;
    if (index !== undefined) (event.shiftKey ? compare : select)(index);
  });
  addEventListener("hashchange", () => {
    if (byName()) {
      draw();
      section.scrollIntoView();
    }
  });
  linkNames(data.runs, new Set(networks.map(keyOf)));
  return draw;
}

/** Turns names of networks in tables into links that select them; with several runs, table titles begin with the run. */
function linkNames(runs, keys) {
  for (const cell of document.querySelectorAll("main > .wide td:first-child, main > details td:first-child")) {
    const title = cell.closest(".wide").getAttribute("aria-label");
    const run = runs.length > 1 ? `${runs.find((one) => title.startsWith(`${one}: `))}/` : "";
    const key = run + cell.textContent;
    if (keys.has(key))
      cell.replaceChildren(el("a", { href: `#network=${encodeURIComponent(key)}` }, cell.textContent));
  }
}

/** Shows the selected network next to the one to compare with. */
function drawPanel(panel, data, state, { select, compare, labelOf }) {
  const one = data.networks[state.selected],
    other = state.other === state.selected ? undefined : data.networks[state.other];
  const focused = document.activeElement?.name;
  const opened = [...panel.querySelectorAll("details")].map((one) => one.open);
  const chooser = (name, text, at, onChange) => {
    const options = data.networks.map((n, i) => el("option", { value: i, selected: i === at }, labelOf(n)));
    const made = el("select", { name }, ...options);
    made.addEventListener("change", () => onChange(Number(made.value)));
    return el("label", {}, text, made);
  };
  panel.replaceChildren(
    el(
      "div",
      { className: "controls" },
      chooser("network", "network", state.selected, select),
      chooser("other", "compared with", state.other, compare),
    ),
    el(
      "div",
      { className: "columns" },
      el(
        "div",
        {},
        facts(data, one, other),
        ...(one.stages.length ? [stages(data, one)] : []),
        ...(one.stages.length && other?.stages.length ? [differences(one, other)] : []),
        ...commands(data, one, other),
      ),
      ...(one.diagram ? [diagram(one)] : []),
    ),
  );
  [...panel.querySelectorAll("details")].forEach((one, i) => {
    one.open = opened[i] ?? one.open;
  });
  if (focused === "network" || focused === "other") panel.querySelector(`[name=${focused}]`).focus();
}

function table(caption, heads, rows, texts = ["row"]) {
  const made = el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ...heads.map((text, i) =>
          el("th", { scope: "col", className: i && !texts.includes(text) ? "" : "left" }, text),
        ),
      ),
    ),
    el("tbody", {}, ...rows),
  );
  return region(caption, made);
}

/** A part of the page that can be scrolled sideways. */
function region(caption, content) {
  const wide = el("div", { className: "wide", tabIndex: 0 }, content);
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", caption);
  return wide;
}

const rounded = (v) => v.toLocaleString("en", { maximumSignificantDigits: 4 });

function facts(data, one, other) {
  const shown = (found) =>
    found
      ? found[1] < found[2]
        ? `${rounded(found[0])} [${rounded(found[1])}, ${rounded(found[2])}]`
        : rounded(found[0])
      : "unknown";
  const rows = data.axes
    .filter((axis) => one.at[axis.key] || other?.at[axis.key])
    .map((axis) => {
      const [own, its] = [one.at[axis.key], other?.at[axis.key]];
      const difference = own && its ? `${own[0] > its[0] ? "+" : ""}${rounded(own[0] - its[0])}` : "";
      return el(
        "tr",
        {},
        el("th", { scope: "row", className: "left" }, axis.title),
        ...(other ? [shown(own), shown(its), difference] : [shown(own)]).map((text) => el("td", {}, text)),
      );
    });
  const notes = [...one.said.slice(0, 1), ...one.notes].map((text) => [text, el("br")]).flat();
  return el(
    "div",
    {},
    table("Numbers of the network", ["", one.name, ...(other ? [other.name, "difference"] : [])], rows),
    el("p", { className: "notes" }, ...notes),
  );
}

function cellOf(v, { whole = 0, unit = 1, signed = false } = {}) {
  const made = el(
    "td",
    { className: whole ? "share" : "" },
    v === null ? "" : (signed && v > 0 ? "+" : "") + rounded(v / unit),
  );
  if (whole) made.style.setProperty("--share", v / whole);
  return made;
}

/** The kind of times that the stages of all networks have: measured, predicted or none. */
const timesOf = (...networks) =>
  ["measured", "predicted"].find((kind) => networks.every(({ stages }) => stages.length && stages[0][kind] !== null));

function stages(data, one) {
  const total = (key) => one.stages.reduce((sum, stage) => sum + stage[key], 0);
  const [params, madds, times] = [total("params"), total("madds"), timesOf(one)];
  const rows = one.stages.map((stage) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", className: "left" }, stage.at),
      el("td", { className: "left text" }, stage.row),
      el("td", {}, stage.output),
      cellOf(stage.params, { whole: params, unit: 1e6 }),
      cellOf(stage.madds, { whole: madds, unit: 1e6 }),
      cellOf(stage.memory, { unit: 1e3 }),
      ...(times ? [cellOf(stage[times], { whole: total(times) })] : []),
    ),
  );
  const heads = [
    "stage",
    "row",
    "output",
    "params, M",
    "multiply-adds, M",
    "memory, kB",
    ...(times ? [`${times}, ms`] : []),
  ];
  const text = times === "measured" ? one.timed : data.runNotes[one.run].predicted;
  const said = times ? [el("p", { className: "notes" }, text)] : [];
  return el(
    "details",
    { open: true },
    el("summary", {}, `Stages of ${one.name}`),
    table("Stages of the network", heads, rows),
    ...said,
  );
}

/** The stages of two networks by scale of the input, because rows of different networks do not correspond. */
function differences(one, other) {
  const scales = [...new Set([...one.stages, ...other.stages].map((stage) => stage.scale))];
  const order = (scale) => ({ stem: 0, last: 1e6, head: 1e7 })[scale] ?? Number(scale.split("/")[1]);
  const times = one.run === other.run ? timesOf(one, other) : undefined;
  const rows = scales
    .sort((a, b) => order(a) - order(b))
    .map((scale) => {
      const [own, its] = [one, other].map((network) => network.stages.filter((stage) => stage.scale === scale));
      const difference = (key, unit) =>
        cellOf(
          [own, its].map((part) => part.reduce((sum, stage) => sum + stage[key], 0)).reduce((a, b) => a - b),
          { unit, signed: true },
        );
      const texts = [own, its].map((part) => part.map((stage) => stage.row).join("\n"));
      return el(
        "tr",
        { className: texts[0] === texts[1] ? "" : "changed" },
        el("th", { scope: "row", className: "left" }, scale),
        ...texts.map((text) => el("td", { className: "left rows" }, text)),
        difference("params", 1e6),
        difference("madds", 1e6),
        ...(times ? [difference(times, 1)] : []),
      );
    });
  const heads = [
    "scale",
    one.name,
    other.name,
    "params, M",
    "multiply-adds, M",
    ...(times ? [`${times}, ms`] : []),
  ];
  return el(
    "details",
    {},
    el("summary", {}, `Differences from ${other.name}, by scale of the input`),
    table("Differences of the two networks", heads, rows, [one.name, other.name]),
  );
}

/** The block diagram; the report contains it as the text of an SVG element. */
function diagram(one) {
  const picture = new DOMParser().parseFromString(one.diagram, "text/html").body.firstChild;
  const wide = region("Block diagram", document.adoptNode(picture));
  return el("details", { className: "drawing", open: true }, el("summary", {}, `Block diagram of ${one.name}`), wide);
}

function commands(data, one, other) {
  const device = data.runNotes[one.run]?.device,
    made = [];
  if (one.file) {
    made.push(
      `mnv2search compile ${one.file} -o ${one.output}`,
      `mnv2search explain ${one.file} --device ${device}`,
      `mnv2search train ${one.file} --data DATA`,
    );
    if (other?.file) made.push(`mnv2search diff ${other.file} ${one.file}`);
  }
  const yaml = one.spec.map((line) => data.lines[line]).join("\n");
  const lines = made.map((text) => el("div", { className: "command" }, el("code", {}, text), copyButton(text)));
  const spec = yaml
    ? [
        el(
          "details",
          {},
          el("summary", {}, "spec as YAML"),
          el("div", { className: "command" }, el("pre", { className: "yaml" }, yaml), copyButton(yaml)),
        ),
      ]
    : [];
  return [...(made.length ? [el("h3", {}, "Next steps")] : []), ...lines, ...spec];
}

function copyButton(text) {
  const button = el("button", { type: "button" }, "copy");
  button.setAttribute("aria-label", `copy: ${text.split("\n")[0]}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
    }
  });
  return button;
}

/** The text of a block that is compressed by gzip, in base64. */
async function inflated(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function main() {
  if (!document.getElementById("data")) return;
  const [data, library] = await Promise.all(["data", "plotly"].map(inflated));
  document.head.append(el("script", { textContent: library }));
  const places = document.querySelectorAll(".explorer, .chart");
  const draws = JSON.parse(data).map((entry, index) => {
    if (entry.explorer) return explore(places[index], entry.explorer);
    const draw = () => drawChart(places[index], entry);
    draw();
    return draw;
  });
  const all = () => draws.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  addEventListener("beforeprint", () => {
    root.dataset.print = "";
    for (const one of document.querySelectorAll("details")) one.open = true;
    all();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.print;
    all();
  });
  root.dataset.drawn = "";
}

main();
