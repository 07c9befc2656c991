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
  const AGES = [[30, "under 30 days"], [90, "30 to 90 days"], [180, "90 to 180 days"], [365, "180 to 365 days"], [Infinity, "over a year"]];
  const LEFT = [[0, "expired"], [365, "under a year"], [3 * 365, "1 to 3 years"], [10 * 365, "3 to 10 years"], [Infinity, "over 10 years"], [null, "no certificate"]];
  const WAREHOUSE = 3, STOPPED = 5, DECOMMISSIONED = 6;
  const here = id => document.getElementById(id);
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const clock = seconds => seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") : "";
  const day = seconds => seconds >= NEVER - DAY ? "never" : clock(seconds).slice(0, 10);
  const now = Math.floor(Date.now() / 1000);
  let data, units, names, order, chosen = 0, chart;

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

  function bars(list, rows, failures) {
    list.replaceChildren();
    if (failures) list.classList.add("failures");
    const most = Math.max(1, ...rows.map(row => row[1]));
    for (const [name, count] of rows) {
      const item = made("li");
      const track = made("div", undefined, "track");
      const fill = made("div", undefined, "fill");
      fill.style.width = `${100 * count / most}%`;
      if (!count) fill.hidden = true;
      track.append(fill);
      track.setAttribute("aria-hidden", "true");
      item.append(made("span", name), made("span", count.toLocaleString("en"), "count"), track);
      list.append(item);
    }
  }

  function funnel() {
    const counts = [data.listed.reduce((sum, [, count]) => sum + count, 0), 0, 0, 0, 0];
    for (let unit = 0; unit < units.id.length; unit++) {
      let furthest = 0;
      STEPS.forEach((step, i) => { if (units[step][unit]) furthest = i + 1; });
      for (let i = 1; i <= furthest; i++) counts[i]++;
    }
    bars(here("funnel"), STEP_NAMES.map((name, i) => [name, counts[i]]));
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
      place.hidden = true;
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
    here("time-note").textContent = `How many had reached each step, by day in UTC, from ${day(days[0])} to ${day(days[days.length - 1])}.`;
    const draw = () => {
      if (chart) chart.destroy();
      const style = getComputedStyle(document.documentElement);
      const colour = name => style.getPropertyValue(name).trim();
      const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const dashes = [[2, 3], [], [8, 3], [], [10, 3, 2, 3]];
      chart = new uPlot({
        width: Math.max(200, place.clientWidth), height: 240, tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        legend: { show: false }, cursor: { show: false }, scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
        axes: [{ ...axis, values: (_, splits) => splits.map(at => day(at).slice(splits[splits.length - 1] - splits[0] < 300 * DAY ? 5 : 0, 10)), space: 70 },
          { ...axis, size: 60, values: (_, splits) => splits.map(count => Number.isInteger(count) ? count.toLocaleString("en") : "") }],
        series: [{}, ...STEP_NAMES.map((label, i) => ({ label, stroke: colour(`--c${i + 1}`), width: 2, dash: dashes[i], points: { show: false } }))],
      }, table, place);
    };
    here("legend").replaceChildren(...STEP_NAMES.map((name, i) => {
      const item = made("li");
      const mark = made("i");
      mark.style.background = `var(--c${i + 1})`;
      item.append(mark, name);
      return item;
    }));
    draw();
    let waiting;
    new ResizeObserver(() => { clearTimeout(waiting); waiting = setTimeout(() => { if (place.clientWidth) draw(); }, 100); }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  function failures() {
    const sums = which => {
      const counts = new Map();
      for (const one of data.failures) counts.set(one[which], (counts.get(one[which]) || 0) + one[2]);
      return [...counts].sort((one, other) => other[1] - one[1]);
    };
    const shown = (list, which, texts) => {
      const rows = sums(which).map(([number, count]) => [texts[number], count]);
      const rest = rows.slice(8);
      if (rest.length) rows.splice(8, rest.length, [`${rest.length} more`, rest.reduce((sum, [, count]) => sum + count, 0)]);
      if (rows.length) bars(list, rows, true);
      else list.replaceWith(made("p", "Nothing was stopped.", "note"));
    };
    shown(here("causes"), 0, data.texts.cause);
    shown(here("stations"), 1, data.texts.station);
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
    const head = made("thead"), body = made("tbody"), first = made("tr");
    const heading = (text, scope) => { const cell = made("th", text); cell.scope = scope; return cell; };
    first.append(heading("Waiting", "col"), ...LEFT.map(([, words]) => heading(words, "col")));
    head.append(first);
    counts.forEach((row, i) => {
      const line = made("tr");
      line.append(heading(AGES[i][1], "row"), ...row.map(count => {
        const cell = made("td", count ? count.toLocaleString("en") : "–", count ? "" : "none");
        if (count) cell.style.background = `rgba(var(--heat), ${0.08 + 0.22 * Math.sqrt(count / most)})`;
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
      here("rack-choice").hidden = true;
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
        if (unit === undefined) {
          const slot = made("span", String(number), "empty");
          slot.append(made("small", "empty"));
          return slot;
        }
        const state = units.state[unit];
        const slot = made("a", String(number), state === STOPPED || state === 7 ? "bad" : "");
        slot.href = address(unit);
        slot.append(made("small", words[state]), made("b", `, ${calledBy(unit)}`, "unseen"));
        return slot;
      }));
    };
    choice.addEventListener("change", show);
    show();
    here("rack-note").textContent = "The unit that was in a slot last.";
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
    here("found").textContent = order.length === haystack.length ? many(order.length, "unit") : `${many(order.length, "unit")} of ${haystack.length.toLocaleString("en")}`;
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

  function list() {
    haystack = units.id.map((_, unit) => [names.serial_number[unit], names.device_id[unit], names.registration_id[unit], names.host[unit]].join("\u0000").toLowerCase());
    here("state").append(new Option("any", ""), ...data.states.map((name, i) => new Option(name, i)));
    here("age-filter").append(new Option("any", ""), ...LEFT.map(([, words], i) => new Option(words, i)));
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
      const item = made("li");
      const at = made("time", `${clock(data.events.at[event]) || "at an unknown time"} UTC, at ${data.texts.station[data.events.station[event]]}`);
      if (data.events.at[event]) at.dateTime = new Date(data.events.at[event] * 1000).toISOString();
      item.append(at, data.texts.sentence[data.events.sentence[event]]);
      items.push(item);
    }
    here("story").replaceChildren(...items);
    here("left-out").textContent = units.left_out[unit] ? `${many(units.left_out[unit], "older event")} are in the ledger.` : items.length ? "" : "The ledger has no event of it.";
    described(here("about"), [
      ["Serial number", names.serial_number[unit]], ["Device ID", names.device_id[unit]], ["Registration ID", names.registration_id[unit]],
      ["Host", names.host[unit]], ["TPM", data.texts.tpm[units.tpm[unit]]], ["Shipment", data.texts.shipment[units.shipment[unit]]],
    ]);
    const until = units.not_after[unit];
    described(here("certificate"), until ? [
      ["Issuer", data.texts.issuer[units.issuer[unit]]], ["Valid from", day(units.not_before[unit])],
      ["Valid until", day(until) === "never" ? "no end" : day(until) + (until < now ? ", expired" : "")],
      ["Trusted", units.certified[unit] ? "yes, when the unit was judged" : "not noted"],
    ] : [["Certificate", "none in the ledger"]]);
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

  async function begin() {
    here("title").textContent = document.title;
    data = await unpacked();
    ({ units, names } = data);
    const latest = units.last.reduce((one, other) => Math.max(one, other), 0);
    const stopped = units.state.filter(state => state === STOPPED).length;
    const gone = units.state.filter(state => state === DECOMMISSIONED).length;
    here("summary").textContent = [many(units.id.length, "unit"), stopped ? `${stopped.toLocaleString("en")} stopped` : "none stopped", ...(gone ? [`${gone.toLocaleString("en")} decommissioned`] : []), ...(latest ? [`as of ${clock(latest)} UTC`] : [])].join(" · ");
    here("all").hidden = false;
    funnel();
    overTime();
    failures();
    warehouse();
    racks();
    list();
    here("back").addEventListener("click", event => { event.preventDefault(); history.pushState(null, "", location.pathname + location.search); routed(); });
    addEventListener("hashchange", routed);
    addEventListener("popstate", routed);
    routed();
    document.body.dataset.ready = "yes";
  }

  begin().catch(error => { here("summary").textContent = `The report cannot be shown: ${error.message}. It needs a browser of 2023 or later.`; });
})();
