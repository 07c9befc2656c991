// Copyright (c) 2026 tpmfleet contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Text of devices reaches the page by textContent alone.
"use strict";
(() => {
  const ROW = 36;
  const DAY = 86400;
  const NEVER = 253402300799;
  const STEPS = ["tpm_install", "software_install", "warehouse", "field_activation"];
  const STEP_NAMES = ["1. TPM on a list", "2. Installed in a device", "3. Software on it", "4. In the warehouse", "5. In the field"];
  const AGES = [[30, "0–30 days"], [90, "30–90 days"], [180, "90–180 days"], [365, "180–365 days"], [Infinity, "over a year"]];
  const LEFT = [[0, "expired"], [365, "under a year"], [3 * 365, "1–3 years"], [10 * 365, "3–10 years"], [Infinity, "over 10 years"], [null, "none"]];
  const WAREHOUSE = 3, STOPPED = 5;
  // Units that were found are printed up to so many.
  const PRINTED = 500;
  const PAPER = 640;
  const COMMON = 8;
  const SVG = "http://www.w3.org/2000/svg";
  const here = id => document.getElementById(id);
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  // Not all is never 100 %, and some is never 0 %.
  const share = (part, whole) => {
    const rounded = Math.round(1000 * part / whole) / 10;
    return `${part && part < whole ? Math.min(99.9, Math.max(0.1, rounded)) : rounded} %`;
  };
  const clock = seconds => seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") : "";
  const day = seconds => seconds >= NEVER - DAY ? "never" : clock(seconds).slice(0, 10);
  const now = Math.floor(Date.now() / 1000);
  const second = seconds => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
  let data, units, names, order, chosen = 0, chart, drawChart, printing = false;

  function made(name, text, className) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  async function unpacked() {
    const packed = atob(here("data").textContent);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const calledBy = unit => names.serial_number[unit] || names.device_id[unit] || names.host[unit] || names.registration_id[unit] || `unit ${units.id[unit]}`;
  const address = unit => `#unit/${units.id[unit]}`;

  function barred(text, count, most, detail, remedy) {
    const item = made("li"), counted = made("span", undefined, "count");
    const track = made("div", undefined, "track"), fill = made("div", undefined, "fill");
    fill.style.width = `${100 * count / most}%`;
    if (!count) fill.hidden = true;
    track.append(fill);
    track.setAttribute("aria-hidden", "true");
    if (detail) counted.append(made("small", detail), " ");
    counted.append(made("b", count.toLocaleString("en")));
    item.append(made("span", text), counted, track);
    if (remedy) item.append(made("small", remedy, "remedy"));
    return item;
  }

  function whereTheyAre() {
    const counts = data.states.map(() => 0);
    for (const state of units.state) counts[state]++;
    if (!units.id.length) {
      here("strip").hidden = true;
      here("tiles").replaceWith(made("p", "The ledger knows no unit yet.", "note"));
      return;
    }
    counts.forEach((count, state) => {
      if (!count && state !== STOPPED) return;
      const part = made("div", undefined, `s${state}`);
      part.style.flexGrow = count;
      if (count) here("strip").append(part);
      const item = made("li"), button = made("button"), figure = made("b", count.toLocaleString("en"));
      button.type = "button";
      figure.append(" ", made("small", share(count, units.id.length)));
      button.append(made("span", data.states[state], `state s${count ? state : 0}`), " ", figure);
      button.addEventListener("click", () => {
        here("state").value = state;
        filtered();
        here("units-heading").focus({ preventScroll: true });
        here("units").scrollIntoView();
      });
      item.append(button);
      here("tiles").append(item);
    });
  }

  function funnel() {
    const counts = [data.listed.reduce((sum, [, count]) => sum + count, 0), 0, 0, 0, 0];
    for (let unit = 0; unit < units.id.length; unit++) {
      let furthest = 0;
      STEPS.forEach((step, i) => { if (units[step][unit]) furthest = i + 1; });
      for (let i = 1; i <= furthest; i++) counts[i]++;
    }
    const most = Math.max(1, ...counts);
    here("funnel").replaceChildren(...STEP_NAMES.map((name, i) => {
      const before = counts[i - 1];
      const item = barred(name, counts[i], most, before && counts[i] <= before ? `${share(counts[i], before)} of step ${i}` : "");
      item.style.setProperty("--own", `var(--c${i + 1})`);
      return item;
    }));
  }

  function overTime() {
    const byDay = new Map();
    const add = (seconds, series, count) => {
      if (!seconds) return;
      const at = Math.floor(seconds / DAY) * DAY;
      if (!byDay.has(at)) byDay.set(at, [0, 0, 0, 0, 0]);
      byDay.get(at)[series] += count;
    };
    for (const [at, count] of data.listed) add(at, 0, count);
    STEPS.forEach((step, i) => { for (const at of units[step]) add(at, i + 1, 1); });
    const days = [...byDay.keys()].sort((one, other) => one - other);
    const place = here("time");
    if (!days.length) {
      place.hidden = here("time-table").hidden = true;
      here("time-note").textContent = "Nothing has happened yet.";
      return;
    }
    // A line needs something to begin from.
    const table = [[days[0] - DAY], [0], [0], [0], [0], [0]];
    const total = [0, 0, 0, 0, 0];
    for (const at of days) {
      table[0].push(at);
      byDay.get(at).forEach((count, i) => table[i + 1].push(total[i] += count));
    }
    const told = STEP_NAMES.map((name, i) => `${name}: ${total[i].toLocaleString("en")}`).join("; ");
    place.setAttribute("aria-label", `Lines of how many units reached each step, from ${day(days[0])} to ${day(days[days.length - 1])}. In the end ${told}.`);
    const note = here("time-note").textContent = `How many had reached each step, by day in UTC, from ${day(days[0])} to ${day(days[days.length - 1])}.`;
    const dashes = [[2, 3], [], [8, 3], [], [10, 3, 2, 3]];
    const figures = STEP_NAMES.map(() => made("b"));
    const figuresOf = at => figures.forEach((figure, i) => { figure.textContent = table[i + 1][at].toLocaleString("en"); });
    const last = table[0].length - 1;
    const plot = width => {
      if (chart) chart.destroy();
      const style = getComputedStyle(document.documentElement);
      const colour = name => style.getPropertyValue(name).trim();
      const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      // A count stays what it is until the next day on which something happened.
      const stepped = uPlot.paths.stepped({ align: 1 });
      chart = new uPlot({
        width: Math.max(200, width), height: 240, tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        legend: { show: false }, cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
        hooks: { setCursor: [plotted => {
          const at = plotted.cursor.idx;
          figuresOf(at ?? last);
          here("time-note").textContent = at === null || at === undefined ? note : `How many had reached each step by ${day(table[0][at])}.`;
        }] },
        scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
        axes: [{ ...axis, size: 34, values: (_, splits) => splits.map(at => day(at).slice(splits[splits.length - 1] - splits[0] < 300 * DAY ? 5 : 0, 10)), space: 70 },
          { ...axis, size: 60, values: (_, splits) => splits.map(count => Number.isInteger(count) ? count.toLocaleString("en") : "") }],
        series: [{}, ...STEP_NAMES.map((label, i) => ({ label, stroke: colour(`--c${i + 1}`), width: 2, dash: dashes[i], points: { show: false }, paths: stepped }))],
      }, table, place);
    };
    here("legend").replaceChildren(...STEP_NAMES.map((name, i) => {
      const item = made("li"), mark = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "line");
      mark.setAttribute("viewBox", "0 0 26 8");
      mark.setAttribute("aria-hidden", "true");
      for (const [key, value] of Object.entries({ x1: 0, y1: 4, x2: 26, y2: 4, "stroke-width": 2.5, "stroke-dasharray": dashes[i].join(" ") })) line.setAttribute(key, value);
      line.style.stroke = `var(--c${i + 1})`;
      mark.append(line);
      item.append(mark, name, figures[i]);
      return item;
    }));
    figuresOf(last);
    daysAsTable(table);
    drawChart = width => plot(width || place.clientWidth);
    drawChart();
    let waiting;
    new ResizeObserver(() => { clearTimeout(waiting); waiting = setTimeout(() => { if (place.clientWidth && !printing) drawChart(); }, 100); }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawChart());
  }

  // At most twelve days, evenly spread over what happened, the last one among them.
  function daysAsTable(table) {
    const last = table[0].length - 1, rows = Math.min(12, last), head = made("thead"), body = made("tbody"), first = made("tr");
    first.append(...["Day", ...STEP_NAMES].map(text => { const cell = made("th", text); cell.scope = "col"; return cell; }));
    head.append(first);
    for (let row = 1; row <= rows; row++) {
      const at = Math.round(row * last / rows), line = made("tr"), name = made("th", day(table[0][at]));
      name.scope = "row";
      line.append(name, ...STEP_NAMES.map((_, i) => made("td", table[i + 1][at].toLocaleString("en"))));
      body.append(line);
    }
    here("days").replaceChildren(head, body);
  }

  function failures() {
    const most = Math.max(1, ...data.causes.map(([, count]) => count));
    const items = data.causes.map(([cause, count]) => {
      // What it is stands before the first semicolon, what to do after it.
      const end = cause.indexOf("; ");
      return end < 0 ? barred(cause, count, most) : barred(cause.slice(0, end), count, most, "", cause.slice(end + 2));
    });
    here("causes").replaceChildren(...items.slice(0, COMMON));
    here("rare-causes").replaceChildren(...items.slice(COMMON));
    here("rare").hidden = items.length <= COMMON;
    here("rare").firstElementChild.textContent = `${many(items.length - COMMON, "more cause")}`;
    const stations = data.stations.filter(([, , stopped]) => stopped).sort((one, other) => other[2] - one[2]);
    const highest = Math.max(1, ...stations.map(([, , stopped]) => stopped));
    here("stations").replaceChildren(...stations.map(([number, events, stopped]) =>
      barred(data.texts.station[number] || "no station", stopped, highest, `${share(stopped, events)} of ${many(events, "event")}`)));
    for (const id of ["causes", "stations"]) {
      if (here(id).children.length) continue;
      here(id).previousElementSibling.textContent = "Nothing was stopped.";
      here(id).hidden = true;
    }
  }

  function leftOf(unit) {
    const until = units.not_after[unit];
    if (!until) return LEFT.length - 1;
    const days = (until - now) / DAY;
    return LEFT.findIndex(([most]) => days < most);
  }

  function warehouse() {
    const counts = AGES.map(() => LEFT.map(() => 0));
    for (let unit = 0; unit < units.id.length; unit++) {
      if (units.state[unit] !== WAREHOUSE) continue;
      const days = (now - units.warehouse[unit]) / DAY;
      counts[AGES.findIndex(([most]) => days < most)][leftOf(unit)]++;
    }
    const most = Math.max(1, ...counts.flat());
    if (!counts.flat().some(Boolean)) {
      here("age-note").textContent = "No unit is in the warehouse.";
      here("age").hidden = true;
      return;
    }
    const head = made("thead"), body = made("tbody"), first = made("tr");
    const heading = (text, scope) => { const cell = made("th", text); cell.scope = scope; return cell; };
    first.append(heading("Waiting", "col"), ...LEFT.map(([, words]) => heading(words, "col")));
    head.append(first);
    counts.forEach((row, i) => {
      const line = made("tr");
      line.append(heading(AGES[i][1], "row"), ...row.map((count, left) => {
        const cell = made("td", count ? count.toLocaleString("en") : "–", count ? left ? "" : "late" : "none");
        if (count) cell.style.setProperty("--heat", `${8 + 30 * Math.sqrt(count / most)}%`);
        return cell;
      }));
      body.append(line);
    });
    here("age").append(head, body);
  }

  function racks() {
    const byRack = new Map();
    for (let unit = 0; unit < units.id.length; unit++) {
      const rack = units.rack[unit];
      if (rack < 0) continue;
      if (!byRack.has(rack)) byRack.set(rack, new Map());
      const slots = byRack.get(rack), before = slots.get(units.slot[unit]);
      if (before === undefined || units.last[before] <= units.last[unit]) slots.set(units.slot[unit], unit);
    }
    const choice = here("rack");
    const sorted = [...byRack].sort(([one], [other]) => data.texts.rack[one].localeCompare(data.texts.rack[other], "en", { numeric: true }));
    if (!sorted.length) {
      here("rack-choice").hidden = here("slots").hidden = true;
      here("rack-note").textContent = "No host is called by its rack and slot, so there is no map.";
      return;
    }
    sorted.forEach(([rack, slots], i) => {
      const stopped = [...slots.values()].filter(unit => units.state[unit] === STOPPED).length;
      choice.append(new Option(data.texts.rack[rack] + (stopped ? ` (${stopped} stopped)` : ""), i));
    });
    const show = () => {
      const slots = sorted[Number(choice.value)][1];
      const highest = [...slots.keys()].reduce((one, other) => Math.max(one, other), 0);
      const from = slots.has(0) ? 0 : 1;
      // A number that is no slot's would make thousands of empty ones.
      const numbers = highest <= 4 * slots.size + 16 ? Array.from({ length: highest - from + 1 }, (_, i) => i + from) : [...slots.keys()].sort((one, other) => one - other);
      const words = ["known", "installed", "software", "boxed", "field", "stopped", "gone", "damaged"];
      here("slots").replaceChildren(...numbers.map(number => {
        const unit = slots.get(number);
        const place = made("li"), slot = unit === undefined ? made("span", String(number), "empty") : made("a", String(number), `s${units.state[unit]}`);
        slot.append(made("small", unit === undefined ? "empty" : words[units.state[unit]]));
        if (unit !== undefined) {
          slot.href = address(unit);
          slot.title = calledBy(unit);
          slot.append(made("b", `, ${calledBy(unit)}`, "unseen"));
        }
        place.append(slot);
        return place;
      }));
      here("rack-note").textContent = `${data.texts.rack[sorted[Number(choice.value)][0]]}: the unit that was in a slot last.`;
    };
    choice.addEventListener("change", show);
    show();
  }

  // ---- the list: only the rows that are seen are there

  let haystack;
  const grid = here("grid"), rows = here("rows");

  function filtered() {
    const words = here("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = here("state").value, left = here("age-filter").value;
    order = [];
    for (let unit = 0; unit < haystack.length; unit++) {
      if (state !== "" && units.state[unit] !== Number(state)) continue;
      if (left !== "" && leftOf(unit) !== Number(left)) continue;
      if (words.every(word => haystack[unit].includes(word))) order.push(unit);
    }
    chosen = 0;
    grid.scrollTop = 0;
    rows.style.height = `${order.length * ROW}px`;
    grid.setAttribute("aria-rowcount", order.length + 1);
    here("found").textContent = !order.length && haystack.length ? "No unit is called so and in such a state." : order.length === haystack.length ? many(order.length, "unit") : `${many(order.length, "unit")} of ${haystack.length.toLocaleString("en")}`;
    draw();
  }

  function draw() {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - 6);
    const last = Math.min(order.length, first + Math.ceil(grid.clientHeight / ROW) + 12);
    const shown = [];
    for (let at = first; at < last; at++) {
      const unit = order[at];
      const row = made("div", undefined, at === chosen ? "row at" : "row");
      row.id = `row-${at}`;
      row.style.top = `${at * ROW}px`;
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", at + 2);
      row.setAttribute("aria-selected", at === chosen);
      const cells = [[calledBy(unit)], [data.states[units.state[unit]], `state s${units.state[unit]}`], [names.device_id[unit], "more"], [names.host[unit], "more"], [clock(units.last[unit]), "more"]];
      for (const [text, className] of cells) {
        const cell = made("span", text, className);
        cell.setAttribute("role", "gridcell");
        row.append(cell);
      }
      row.addEventListener("click", () => { chosen = at; location.hash = address(unit); });
      shown.push(row);
    }
    rows.replaceChildren(...shown);
    if (chosen >= first && chosen < last) grid.setAttribute("aria-activedescendant", `row-${chosen}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function moved(event) {
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && order.length) location.hash = address(order[chosen]);
    else if (event.key in steps) {
      event.preventDefault();
      chosen = Math.min(order.length - 1, Math.max(0, chosen + steps[event.key]));
      const head = grid.firstElementChild.offsetHeight;
      const top = chosen * ROW;
      if (top < grid.scrollTop) grid.scrollTop = top;
      else if (top + ROW > grid.scrollTop + grid.clientHeight - head) grid.scrollTop = top + ROW - grid.clientHeight + head;
      draw();
    }
  }

  function printable() {
    const rows = order.slice(0, order.length > PRINTED ? 0 : PRINTED).map(unit => {
      const row = made("tr");
      row.append(...[calledBy(unit), data.states[units.state[unit]], names.device_id[unit], names.host[unit], clock(units.last[unit])].map(text => made("td", text)));
      return row;
    });
    const body = made("tbody"), head = made("thead"), first = made("tr");
    first.append(...[...document.querySelectorAll("[role=columnheader]")].map(cell => made("th", cell.textContent)));
    head.append(first);
    body.append(...rows);
    here("not-printed").hidden = order.length <= PRINTED;
    here("printed").replaceChildren(...(rows.length ? [head, body] : []));
  }

  function list() {
    haystack = units.id.map((_, unit) => [names.serial_number[unit], names.device_id[unit], names.registration_id[unit], names.host[unit]].join("\u0000").toLowerCase());
    here("state").append(new Option("any", ""), ...data.states.map((name, i) => new Option(name, i)));
    here("age-filter").append(new Option("any", ""), ...LEFT.map(([most, words], i) => new Option(most ? `valid ${words}` : words, i)));
    here("filters").addEventListener("submit", event => event.preventDefault());
    for (const id of ["search", "state", "age-filter"]) here(id).addEventListener("input", filtered);
    grid.addEventListener("scroll", draw, { passive: true });
    grid.addEventListener("keydown", moved);
    new ResizeObserver(() => draw()).observe(grid);
    filtered();
  }

  // ---- one unit

  function described(list, facts) {
    list.replaceChildren();
    for (const [name, value] of facts) if (value) list.append(made("dt", name), made("dd", value));
    if (!list.children.length) list.append(made("dt", "Nothing"), made("dd", "is known"));
  }

  function story(unit) {
    here("unit-name").textContent = calledBy(unit);
    const state = here("unit-state");
    state.textContent = data.states[units.state[unit]];
    state.className = `state s${units.state[unit]}`;
    const from = units.events[unit], to = unit + 1 < units.id.length ? units.events[unit + 1] : data.events.at.length;
    const items = [];
    for (let event = from; event < to; event++) {
      const said = name => data.texts[name][data.events[name][event]];
      const item = made("li", undefined, data.events.stopped[event] ? "stopped" : "");
      const at = made("time", data.events.at[event] ? `${second(data.events.at[event])} UTC` : "at a time that is not known");
      if (data.events.at[event]) at.dateTime = new Date(data.events.at[event] * 1000).toISOString();
      const by = [said("station") && `at ${said("station")}`, said("operator") && `by ${said("operator")}`, said("run_id") && `run ${said("run_id")}`];
      item.append(made("h4", said("step")), at, made("p", said("said")), made("small", by.filter(Boolean).join(" · ")));
      items.push(item);
    }
    here("story").replaceChildren(...items);
    reached(unit);
    here("left-out").textContent = units.left_out[unit] ? `The newest ${items.length} events. The ledger has ${many(units.left_out[unit], "older one")}.` : items.length ? "" : "The ledger has no event of it.";
    described(here("about"), [
      ["Serial number", names.serial_number[unit]], ["Device ID", names.device_id[unit]], ["Registration ID", names.registration_id[unit]],
      ["Host", names.host[unit]], ["TPM", data.texts.tpm[units.tpm[unit]]], ["Shipment", data.texts.shipment[units.shipment[unit]]],
    ]);
    const until = units.not_after[unit], since = units.not_before[unit];
    described(here("certificate"), until ? [
      ["Issuer", data.texts.issuer[units.issuer[unit]]], ["Valid from", day(since)],
      ["Valid until", day(until) === "never" ? "no end" : day(until) + (until < now ? ", expired" : "")],
      ["Trusted", units.certified[unit] ? "yes, when the unit was judged" : "not noted"],
    ] : [["Certificate", "none in the ledger"]]);
    if (until > since && day(until) !== "never") {
      const gone = Math.min(1, Math.max(0, (now - since) / (until - since)));
      const track = made("div", undefined, "track"), fill = made("div", undefined, until < now ? "fill late" : "fill");
      fill.style.width = `${100 * gone}%`;
      track.append(fill);
      const cell = made("dd", `${Math.floor(100 * gone)} % is over`);
      cell.append(track);
      here("certificate").append(made("dt", "Of its time"), cell);
    }
  }

  function reached(unit) {
    const shipment = data.texts.shipment[units.shipment[unit]];
    here("steps").replaceChildren(...STEP_NAMES.map((name, i) => {
      const at = i ? units[STEPS[i - 1]][unit] : 0;
      const item = made("li", undefined, at || (!i && shipment) ? "reached" : "");
      item.style.setProperty("--own", `var(--c${i + 1})`);
      item.append(made("b", name), i ? at ? day(at) : "not yet" : shipment || "on none that was taken in");
      return item;
    }));
  }

  let scrolled = 0;
  function routed() {
    const asked = /^#unit\/(\d+)$/.exec(location.hash);
    const unit = asked ? units.id.indexOf(Number(asked[1])) : -1;
    const wasAll = !here("all").hidden;
    if (unit >= 0 && wasAll) scrolled = scrollY;
    here("all").hidden = unit >= 0;
    here("unit").hidden = unit < 0;
    if (unit >= 0) {
      story(unit);
      scrollTo(0, 0);
      here("unit-name").focus({ preventScroll: true });
    } else if (!wasAll && !here("all").hidden && location.hash === "") {
      draw();
      scrollTo(0, scrolled);
      grid.focus({ preventScroll: true });
    }
  }

  // On paper it is light, and as wide as paper.
  function paper(begins) {
    printing = begins;
    if (begins) document.documentElement.dataset.printing = "yes";
    else delete document.documentElement.dataset.printing;
    if (begins) printable();
    if (chart) drawChart(begins ? PAPER : undefined);
  }

  async function begin() {
    here("title").textContent = document.title;
    data = await unpacked();
    ({ units, names } = data);
    const latest = units.last.reduce((one, other) => Math.max(one, other), 0);
    const stopped = units.state.filter(state => state === STOPPED).length;
    here("summary").textContent = [many(units.id.length, "unit"), stopped ? `${stopped.toLocaleString("en")} stopped` : "none stopped", ...(latest ? [`as of ${clock(latest)} UTC`] : [])].join(" · ");
    here("all").hidden = false;
    whereTheyAre();
    funnel();
    overTime();
    failures();
    warehouse();
    racks();
    list();
    here("back").addEventListener("click", event => { event.preventDefault(); history.pushState(null, "", location.pathname + location.search); routed(); });
    addEventListener("beforeprint", () => paper(true));
    addEventListener("afterprint", () => paper(false));
    addEventListener("hashchange", routed);
    addEventListener("popstate", routed);
    routed();
    document.body.dataset.ready = "yes";
  }

  begin().catch(error => { here("summary").textContent = `The report cannot be shown: ${error.message}. It needs a browser of 2023 or later.`; });
})();
