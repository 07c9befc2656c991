# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report in a browser: 100,000 units, on a phone and on a wall, in light and in dark, by keyboard, with nothing on
the network, and with units whose names are meant to do harm. Screenshots are in tests/output/report."""

from __future__ import annotations

import base64
import bisect
import calendar
import csv
import hashlib
import json
import random
import re
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pypdfium2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from playwright.sync_api import sync_playwright

HERE = Path(__file__).with_name("report_page")
SHOTS = Path(__file__).resolve().parents[1] / "output" / "report"
UNITS = 100_000
HOSTILE = "<img src=x onerror=alert(1)>"
# What stopped a unit, as the ledger says it of that unit, and what all those units share.
REASONS = {
    "its endorsement key {key}… is on no list of a TPM maker that was taken in (step 1)":
        "its endorsement key … is on no list of a TPM maker that was taken in (step 1)",
    "its serial number is already that of {other} (rack9-slot{slot}); pull both, one is not what it seems":
        "its serial number is already that of another device; pull both, one is not what it seems",
    "it has a software TPM, which is refused in a production inventory; tpmfleet_software_tpm_allowed on this very "
    "host allows it":
        "it has a software TPM, which is refused in a production inventory; tpmfleet_software_tpm_allowed on this very "
        "host allows it",
    "its endorsement key certificate is not trusted (it ended on 2025-{month:02}-01)":
        "its endorsement key certificate is not trusted (it ended on …)",
    "its endorsement key certificate is not trusted (no root of its maker was given)":
        "its endorsement key certificate is not trusted (no root of its maker was given)",
    "the TPM answered 0x98e to {serial}": "the TPM answered 0x98e to …",
    "the TPM answered 0x921 to {serial}": "the TPM answered 0x921 to …",
}  # fmt: skip
FAILURES = ("stopped", "failed")
STEPS = ("tpm_install", "software_install", "warehouse", "field_activation")
STATES = ("known only", "installed", "software on it", "in the warehouse", "in the field", "stopped", "decommissioned")
CHOSEN = f"TF-{UNITS // 2:06}"
DAY = 86400
# Midnight in UTC, so long ago that nothing that is made up lies in the future.
BEGAN = int(time.time()) // DAY * DAY - 400 * DAY


def at(day, second=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN + day * DAY + second))


def units(count, certificates):
    """(record, events) of each unit: made up, and the same each time."""
    chance = random.Random(12)
    for number in range(count):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        day = number * 340 // count
        host = f"rack{number % 4 + 1}-slot{number // 4 % 40 + 1:02}" if number != count - 6 else f"bench-{number}"
        record = {
            "record_version": 1, "serial_number": f"TF-{number:06}", "device_id": f"pump-{number:06}", "host": host,
            "registration_id": name[:52], "tpm_manufacturer": "IFX", "tpm_model": "SLB9672", "maker": "Example",
            "batch": f"B-{day // 30}",
            "endorsement_key_certificate": certificates[number % len(certificates)],
        }  # fmt: skip
        if not number % 17:
            del record["endorsement_key_certificate"]
        if number == 3:
            record.update(serial_number=HOSTILE, device_id="'\"><script>alert(1)</script>", tpm_model=HOSTILE)
        by = {"operator": ("ada", "grace")[number % 2], "run_id": f"20260{day // 100}-{number // 200:08x}"}
        work = {"ownership": "done", "possession": "done", "dps_client": "done", "enrollment": "verified"}
        events = []
        for step in STEPS[: chance.choices((1, 2, 3, 4), (1, 1, 3, 6))[0]]:
            what = {"state": "done", "outcome": work if step == "software_install" else {"enrollment": "done"}, **by}
            events.append((at(day, number % 80000), step, what))
            day += chance.randrange(1, 12)
        if chance.random() < (0.02 if count > 1000 else 0.2) or number == 3:
            form = chance.choices(list(REASONS), (9, 8, 7, 6, 5, 2, 1))[0] if number != 3 else HOSTILE
            words = {"key": name[:16], "other": f"TF-{number + 7:06}", "slot": number % 40, "month": number % 12 + 1}
            reasons = [form.format(serial=f"TF-{number:06}", **words)]
            if not number % 5 and number != 3:
                reasons.append(list(REASONS)[2])
            # By the ledger's judgement, or on the device itself.
            stopped = {"state": FAILURES[number // 2 % 2], "reasons": list(dict.fromkeys(reasons)), **by}
            events.append((at(day), "software_install", stopped))
            if chance.random() < 0.3:
                events.append((at(day, 3600), "software_install", {"state": "verified", **by}))
        if number % 997 == 5:
            record["decommission"] = {"done": at(day, 7200)}
            events.append((at(day, 7200), "decommission", {"state": "done", **by}))
        yield record, events


def written(directory, count):
    """A ledger of *count* such units, and its report as the playbook makes it; the report's path."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
        DEVICES,
        EVENTS,
        LISTED_KEYS,
        Access,
        opened,
    )

    ledger = directory / "ledger.sqlite"
    devices, events = [], []
    for number, (record, happened) in enumerate(units(count, list(certificates_of_years(1, 4, 12, 25, -0.5))), 1):
        columns = {name: record[name] for name in ("serial_number", "device_id", "host", "registration_id")}
        devices.append({**columns, "id": number, "endorsement_key_sha256": None, "record": json.dumps(record)})
        events += [
            {"device": number, "host": record["host"], "at": when, "step": step, "what": json.dumps(what),
             "station": f"line-{number % 3 + 1}" if number != 4 else HOSTILE}
            for when, step, what in happened
        ]  # fmt: skip
    listed = [
        {"endorsement_key_sha256": f"{number:064}", "maker": "Example", "batch": "B", "entry": "{}",
         "taken_in": at(number * 300 // count)} for number in range(count + count // 20)
    ]  # fmt: skip
    with opened(str(ledger), Access.WRITE) as connection:
        for table, rows in ((DEVICES, devices), (EVENTS, events), (LISTED_KEYS, listed)):
            if rows:
                connection.execute(table.insert(), rows)
    values = {"tpmfleet_ledger": str(ledger), "tpmfleet_report": str(directory / "report.html")}
    (directory / "values.json").write_text(json.dumps({**values, "tpmfleet_report_csv": str(directory / "report.csv")}))
    command = ["ansible-playbook", "-i", "rack1-slot01,", "-e", "tpmfleet_hosts=all", "-e", f"@{directory}/values.json"]
    for changed in (1, 0):
        done = subprocess.run(
            [*command, "tpmfleet.azure_dps.report"], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"changed={changed}" in done.stdout
    assert len((directory / "report.csv").read_text().splitlines()) == count + 1
    return directory / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A function: the report of a ledger with so many units, made once."""
    made = {}

    def of(count):
        if count not in made:
            made[count] = written(tmp_path_factory.mktemp("report"), count)
        return made[count]

    return of


def certificates_of_years(*years):
    """Certificates, in base64, that end so many years from today."""
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example EK Issuing CA 3")])
    for number, length in enumerate(years, 1):
        builder = x509.CertificateBuilder(issuer, x509.Name([]), key.public_key(), number)
        builder = builder.not_valid_before(today - timedelta(700)).not_valid_after(today + timedelta(365 * length - 60))
        yield base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


@pytest.fixture(scope="module")
def axe(node_packages):
    """axe-core's program, as the lock file names it."""
    return (node_packages(HERE) / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium, pages):
    """A function: opens the report. At the end nothing was fetched, refused by the policy, thrown or popped up."""
    opened, wrong = [], []

    def run(width=1280, scheme="light", fragment="", count=UNITS, now=None, **more):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce", **more
        )
        opened.append(context)
        view = context.new_page()
        if now:
            view.clock.set_fixed_time(datetime.fromtimestamp(now, timezone.utc))
        view.on("request", lambda one: wrong.append(one.url) if not one.url.startswith(("file:", "blob:")) else None)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        view.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        view.goto(pages(count).as_uri() + fragment)
        view.wait_for_selector("body[data-ready]", timeout=60_000)
        return view

    run.wrong = wrong
    yield run
    for context in opened:
        context.close()
    assert wrong == []


def violations(view, axe):
    # Its program is given by the browser, past the page's policy.
    view.evaluate(axe)
    found = view.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found["violations"]]


# What is wider than its place, but for the list, whose cells say their whole text on the unit's page.
WIDER = """() => [...document.querySelectorAll(
        'section, table, th, td, dl, dd, #tiles li, #tiles span, .bars span, #slots *')]
    .filter(one => one.checkVisibility() && !one.closest('#grid, .unseen') && one.scrollWidth > one.clientWidth + 1
        && getComputedStyle(one).display !== 'inline')
    .map(one => one.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 1920])
@pytest.mark.parametrize("count", [0, 12, UNITS])
def test_it_can_be_seen_by_everybody(look, axe, count, width, scheme):
    SHOTS.mkdir(parents=True, exist_ok=True)
    view = look(width, scheme, count=count)
    for name, fragment in (("all", ""), ("unit", "#unit/4"))[: 2 if count else 1]:
        view.evaluate(f"location.hash = '{fragment}'")
        view.wait_for_function(f"document.getElementById('unit').hidden === {json.dumps(not fragment)}")
        view.screenshot(path=SHOTS / f"{name}-{count}-{width}-{scheme}.png", full_page=True)
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(WIDER) == []
        assert violations(view, axe) == []


def test_a_step_has_one_colour_wherever_it_is_shown(look):
    view = look(count=12)
    shown = """() => {
        const line = [...document.querySelectorAll('#legend line')].map(one => getComputedStyle(one).stroke);
        const bar = [...document.querySelectorAll('#funnel .fill')].map(one => getComputedStyle(one).backgroundColor);
        const strip = ['s1', 's2', 's3', 's4'].map(name => {
            const part = document.createElement('div');
            part.className = name;
            document.getElementById('strip').append(part);
            return getComputedStyle(part).backgroundColor });
        const dot = ['s1', 's2', 's3', 's4'].map(name => {
            const cell = document.createElement('span');
            cell.className = `state ${name}`;
            document.body.append(cell);
            return getComputedStyle(cell, '::before').backgroundColor });
        return { line, bar, strip, dot } }"""
    found = view.evaluate(shown)
    assert found["line"] == found["bar"] and len(set(found["line"])) == 5
    assert found["strip"] == found["dot"] == found["line"][1:]


def in_words(number):
    return f"{number:,}"


class Ledger:
    """What the ledger of a report says, read here by SQL and JSON alone."""

    def __init__(self, path, now):
        connection = sqlite3.connect(path)
        self.now = now
        self.listed = connection.execute("SELECT count(*) FROM listed_keys").fetchone()[0]
        self.records = {row: json.loads(text) for row, text in connection.execute("SELECT id, record FROM devices")}
        self.events = {row: [] for row in self.records}
        asked = "SELECT device, at, step, station, what FROM events ORDER BY id"
        for device, when, step, station, what in connection.execute(asked):
            self.events[device].append((when, step, station, json.loads(what)))
        connection.close()

    def seconds(self, text):
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))

    def first(self, row, step):
        """When a unit first passed *step*."""
        times = [when for when, one, _where, what in self.events[row] if one == step and what["state"] not in FAILURES]
        return min(times, default=None)

    def state(self, row):
        if "decommission" in self.records[row]:
            return "decommissioned"
        if self.events[row] and self.events[row][-1][3]["state"] in FAILURES:
            return "stopped"
        return STATES[max([0, *(number for number, step in enumerate(STEPS, 1) if self.first(row, step))])]

    def reached(self, number):
        """The units that passed step *number* of the five, or a later one."""
        return [row for row in self.records if any(self.first(row, step) for step in STEPS[number - 2 :])]

    def certificate(self, row):
        """The heading in the warehouse's table."""
        text = self.records[row].get("endorsement_key_certificate")
        if not text:
            return 5
        until = x509.load_der_x509_certificate(base64.b64decode(text)).not_valid_after_utc.timestamp()
        return bisect.bisect_right([0, 365, 3 * 365, 10 * 365], (until - self.now) / DAY)

    def stops(self):
        return [(station, what["reasons"]) for events in self.events.values() for _when, _step, station, what in events
                if what["state"] in FAILURES]  # fmt: skip


def test_each_number_on_it_is_that_of_the_ledger(look, pages):
    now = BEGAN + 400 * DAY + DAY // 2
    view, ledger = look(now=now), Ledger(pages(UNITS).with_name("ledger.sqlite"), now)
    states = Counter(map(ledger.state, ledger.records))

    tiles = view.locator("#tiles li").all()
    told = {one.locator(".state").inner_text(): one.locator("b").inner_text().split()[0] for one in tiles}
    assert told == {state: in_words(count) for state, count in states.items()}
    assert view.inner_text("#summary").startswith(f"{UNITS:,} units · {states['stopped']:,} stopped · as of ")
    latest = max(events[-1][0] for events in ledger.events.values())
    assert view.inner_text("#summary").endswith(f"{latest[:16].replace('T', ' ')} UTC")

    funnel = [ledger.listed, *(len(ledger.reached(number)) for number in range(2, 6))]
    assert view.locator("#funnel .count b").all_inner_texts() == list(map(in_words, funnel))
    shares = [f"{100 * after / before:.1f}".removesuffix(".0") for before, after in pairwise(funnel)]
    assert view.locator("#funnel small").all_inner_texts() == [
        f"{one} % of step {number}" for number, one in enumerate(shares, 1)
    ]

    view.click("#time-table summary")
    firsts = [[ledger.first(row, step) for row in ledger.records] for step in STEPS]
    for line in view.locator("#days tbody tr").all():
        day, *cells = line.locator("th, td").all_inner_texts()
        with closing(sqlite3.connect(pages(UNITS).with_name("ledger.sqlite"))) as connection:
            asked = "SELECT count(*) FROM listed_keys WHERE substr(taken_in, 1, 10) <= ?"
            on_lists = connection.execute(asked, [day]).fetchone()[0]
        until = [sum(1 for when in times if when and when[:10] <= day) for times in firsts]
        assert cells == list(map(in_words, [on_lists, *until]))
    assert view.locator("#legend b").all_inner_texts() == cells

    forms = {**REASONS, HOSTILE: HOSTILE}
    shapes = [(re.compile(re.sub(r"\\\{[^}]+\}", ".*", re.escape(form))), shared) for form, shared in forms.items()]
    causes = Counter(
        next(shared for shape, shared in shapes if shape.fullmatch(one))
        for _station, reasons in ledger.stops()
        for one in reasons
    )
    shown = {}
    for item in view.locator("#causes li, #rare-causes li").all():
        remedy = item.locator(".remedy").all_text_contents()
        shown["; ".join([item.locator("span").first.text_content(), *remedy])] = item.locator("b").text_content()
    assert shown == {cause: in_words(count) for cause, count in causes.items()}

    at_stations = Counter(station for station, _reasons in ledger.stops())
    everything = Counter(station for events in ledger.events.values() for _when, _step, station, _what in events)
    for item in view.locator("#stations li").all():
        name = item.locator("span").first.inner_text()
        assert item.locator("b").inner_text() == in_words(at_stations.pop(name))
        assert item.locator("small").inner_text().endswith(f" of {everything[name]:,} events")
    assert not at_stations

    boxed = [row for row in ledger.records if ledger.state(row) == "in the warehouse"]
    table = [[0] * 6 for _age in range(5)]
    for row in boxed:
        waited = (now - ledger.seconds(ledger.first(row, "warehouse"))) / DAY
        table[bisect.bisect_right([30, 90, 180, 365], waited)][ledger.certificate(row)] += 1
    cells = [line.locator("td").all_inner_texts() for line in view.locator("#age tbody tr").all()]
    assert cells == [[in_words(count) if count else "–" for count in line] for line in table]

    racks = {}
    for row, record in ledger.records.items():
        found = re.fullmatch(r"(rack\d)-slot(\d+)", record["host"])
        if found:
            latest, slots = ledger.events[row][-1][0], racks.setdefault(found[1], {})
            slots[int(found[2])] = max(slots.get(int(found[2]), ("", 0)), (latest, row))
    for rack, slots in racks.items():
        stopped = sum(ledger.state(row) == "stopped" for _latest, row in slots.values())
        view.select_option("#rack", label=rack + (f" ({stopped} stopped)" if stopped else ""))
        titles = view.locator("#slots a").evaluate_all("all => all.map(one => one.title)")
        assert titles == [ledger.records[slots[slot][1]]["serial_number"] for slot in sorted(slots)]

    for state in STATES:
        view.select_option("#state", label=state)
        assert view.inner_text("#found").startswith(f"{states[state]:,} unit" if states[state] else "No unit")
    view.select_option("#state", label="any")
    valid = Counter(map(ledger.certificate, ledger.records))
    for number in range(6):
        view.select_option("#age-filter", value=str(number))
        assert view.inner_text("#found").startswith(f"{valid[number]:,} unit" if valid[number] else "No unit")

    with open(pages(UNITS).with_name("report.csv"), newline="") as file:
        assert Counter(row["state"] for row in csv.DictReader(file)) == states


def test_a_search_over_all_units_is_quick_and_makes_few_rows(look):
    view = look()
    assert view.text_content("#found") == f"{UNITS:,} units"
    assert 10 < view.locator("#rows [role=row]").count() < 60
    for asked, found in ((CHOSEN.lower(), 1), ("tf-0000", 99), ("", UNITS), ("nothing is called so", 0)):
        took = view.evaluate(
            """asked => { const search = document.getElementById('search'); search.value = asked;
            const before = performance.now(); search.dispatchEvent(new Event('input'));
            return performance.now() - before }""",
            asked,
        )
        assert took < 500, asked
        assert view.text_content("#found").startswith(f"{found:,} unit" if found else "No unit")
    view.fill("#search", CHOSEN)
    assert view.text_content("#rows [role=row] span") == CHOSEN
    view.fill("#search", "")
    view.select_option("#state", label="stopped")
    states = set(view.locator("#rows .state").all_text_contents())
    assert states == {"stopped"}


def test_it_is_used_by_keyboard(look):
    view = look()
    view.focus("#search")
    view.keyboard.type("TF-0000")
    for _field in range(3):
        view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.id") == "grid"
    view.keyboard.press("End")
    last = view.get_attribute("#grid", "aria-activedescendant")
    assert view.text_content(f"#{last} span") == "TF-000099"
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        view.keyboard.press(key)
    view.wait_for_selector("#unit:not([hidden])")
    assert view.evaluate("document.activeElement.id") == "unit-name" and view.text_content("#unit-name") == "TF-000001"
    view.keyboard.press("Tab")
    view.go_back()
    view.wait_for_selector("#all:not([hidden])")
    assert view.evaluate("document.activeElement.id") == "grid"


def test_a_unit_tells_the_story_that_the_ledger_tells_and_its_certificate(look, pages):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.story import sentence

    ledger = Ledger(pages(UNITS).with_name("ledger.sqlite"), 0)
    rows = [row for row, events in ledger.events.items() if any(one[3]["state"] in FAILURES for one in events)]
    view = look()
    for row in (UNITS // 2 + 1, *rows[:4]):
        view.evaluate(f"location.hash = '#unit/{row}'")
        view.wait_for_selector("#unit:not([hidden])")
        assert view.text_content("#unit-name") == ledger.records[row]["serial_number"]
        told = []
        for item in view.locator("#story li").all():
            when, step, said = (item.locator(one).text_content() for one in ("time", "h4", "p"))
            told.append(f"{when}, {step}, {item.locator('small').text_content().replace(' · ', ', ')}: {said}")
        events = [
            {"at": when, "step": step, "station": where, **what} for when, step, where, what in ledger.events[row]
        ]
        assert told == list(map(sentence, events)) and "by " in told[0] and "run " in told[0]
    view.evaluate(f"location.hash = '#unit/{UNITS // 2 + 1}'")
    view.wait_for_function(f"document.getElementById('unit-name').textContent === '{CHOSEN}'")
    assert "Example EK Issuing CA 3" in view.text_content("#certificate")


def test_a_hostile_name_does_nothing(look):
    view = look()
    view.fill("#search", "onerror")
    assert view.text_content("#rows [role=row] span") == HOSTILE
    view.keyboard.press("Tab")
    view.locator("#rows [role=row]").click()
    view.wait_for_selector("#unit:not([hidden])")
    assert view.text_content("#unit-name") == HOSTILE and HOSTILE in view.text_content("#story")
    assert view.locator("img").count() == 0 and view.locator("script").count() == 2
    # Even markup that was made by somebody would be refused, or would not run.
    refused = """() => { try {
        document.body.innerHTML = '<img src=x onerror="window.done = 1">' } catch { return 'refused' } }"""
    assert view.evaluate(refused) == "refused"
    assert "TrustedHTML" in look.wrong.pop()


def test_it_is_printed_on_white_paper_with_what_was_found(look):
    SHOTS.mkdir(parents=True, exist_ok=True)
    view = look(scheme="dark", count=12)
    view.select_option("#state", label="stopped")
    stopped = view.locator("#rows [role=row] span:first-child").all_inner_texts()
    paper = view.pdf(path=SHOTS / "all-12.pdf", format="A4", print_background=True)
    pages = pypdfium2.PdfDocument(paper)
    text = "\n".join(page.get_textpage().get_text_range() for page in pages)
    assert stopped and all(one in text for one in stopped) and "TF-000007" not in text
    for words in ("How far they have come", "Units over time", "Failures by cause", "In the warehouse", "Racks"):
        assert words in text
    assert "Search" not in text and "too many" not in text
    for page in pages:
        picture = page.render(scale=1).to_pil().convert("L")
        assert picture.getpixel((2, 2)) == 255 and picture.resize((1, 1)).getpixel((0, 0)) > 200
    # On the screen it is dark again, and the chart as wide as before.
    assert view.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    assert view.evaluate("document.querySelector('.uplot').offsetWidth === document.getElementById('time').clientWidth")


def test_100_000_units_are_not_printed(look):
    view = look()
    pages = pypdfium2.PdfDocument(view.pdf(path=SHOTS / f"all-{UNITS}.pdf", format="A4", print_background=True))
    assert len(pages) <= 4
    assert "too many to be printed" in pages[len(pages) - 1].get_textpage().get_text_range()


def test_a_figure_leads_to_its_units(look):
    view = look()
    view.locator("#tiles button", has_text="decommissioned").press("Enter")
    assert view.evaluate("document.activeElement.id") == "units-heading"
    assert set(view.locator("#rows .state").all_text_contents()) == {"decommissioned"}


def test_the_chart_says_what_was_on_a_day(look):
    view = look(count=12)
    view.hover("#time .u-over", position={"x": 2, "y": 100})
    assert "reached each step by" in view.text_content("#time-note")
    assert view.locator("#legend b").all_inner_texts() != ["12", "12", "12", "11", "6"]
    view.mouse.move(0, 0)
    assert "by day in UTC" in view.text_content("#time-note")
