# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation site builds, and who follows the page for developers gets where it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2]


def run(*command: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages. A warning of Sphinx, or a page that its index does not have, ends the build."""
    output = tmp_path_factory.mktemp("site")
    done = run(sys.executable, COLLECTION / "scripts" / "build_site.py", output)
    assert done.returncode == 0, done.stdout
    return output


def test_every_guide_module_and_role_has_its_page(site):
    guides = [path.stem for path in (COLLECTION / "docs").glob("*.md")]
    modules = [f"collections/{path.stem}_module" for path in (COLLECTION / "plugins" / "modules").glob("*.py")]
    roles = [f"collections/{path.parent.name}_role" for path in (COLLECTION / "roles").glob("*/meta")]
    missing = [page for page in [*guides, *modules, *roles] if not (site / f"{page}.html").exists()]
    assert len(guides) > 15 and len(modules) > 30 and missing == []


def test_links_between_pages_lead_somewhere(site):
    wrong = []
    for page in site.glob("*.html"):
        for target, anchor in re.findall(r'href="([^":#?]+\.html)(?:#([^"]*))?"', page.read_text()):
            file = site / target
            if not file.exists() or (anchor and f'id="{anchor}"' not in file.read_text()):
                wrong.append(f"{page.name}: {target}#{anchor}")
    assert wrong == []


def test_tables_scroll_within_the_page(site):
    """On a phone's width."""
    assert "overflow-x: auto" in (site / "_static" / "tables.css").read_text()
    assert [page.name for page in site.glob("*.html") if "_static/tables.css" not in page.read_text()] == []


def test_a_table_is_shown_as_one(site):
    """An empty line in the middle of a table makes a paragraph of bars of the rest."""
    assert [page.name for page in site.glob("*.html") if "<p>|" in page.read_text(encoding="utf-8")] == []


def edit(path: Path, after: str, added: str) -> None:
    text = path.read_text()
    assert text.count(after) == 1, (path, after)
    path.write_text(text.replace(after, after + added))


def test_a_field_is_added_to_the_record_as_the_page_for_developers_says(tmp_path):
    """Under another name, in a copy of the collection; the tests that the page names fail before its second step."""
    guide = (COLLECTION / "docs" / "developing.md").read_text().split("## Add a field to the record\n")[1]
    copy = tmp_path / "ansible_collections" / "tpmfleet" / "azure_dps"
    shutil.copytree(
        COLLECTION, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "bench", "machines", "devices")
    )
    (entry,) = re.findall(r'`("enclosure": Field\(\),)`', guide)
    (allowed,) = re.findall(r'`("enclosure": true)`', guide)
    (variable,) = re.findall(r'`("enclosure": "tpmfleet_enclosure")`', guide)
    # Who followed the page has that field already.
    entry, allowed, variable = (one.replace("enclosure", "shell") for one in (entry, allowed, variable))
    tests = re.findall(r"`(tests/unit/plugins/module_utils/record/\S+\.py)`", guide)
    assert tests

    def outcome() -> int:
        places = {"PYTHONPATH": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "0", *tests]
        return run(*command, cwd=copy, env={**os.environ, **places}).returncode

    edit(copy / "plugins/module_utils/record/fields.py", "RECORD_FIELDS = {\n", f"    {entry}\n")
    assert outcome() == 1
    text = '"type": "string", "minLength": 1'
    edit(
        copy / "meta/device-record.schema.json",
        '    "record_version": { "const": 1 },\n',
        f'    "shell": {{ {text} }},\n',
    )
    edit(copy / "meta/enrollment-manifest.schema.json", '    "record_version": true,\n', f"    {allowed},\n")
    edit(copy / tests[0], '        "host": "rack1-slot01",\n', '        "shell": "C-17",\n')
    assert outcome() == 0
    edit(copy / "plugins/plugin_utils/device_record.py", "_FIELDS = {\n", f"    {variable},\n")
    program = (
        "import json\n"
        "from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of\n"
        "from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.records import line_of\n"
        "from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import merged\n"
        "from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.fields import ASKED_FOR\n"
        "record = merged({}, record_of('slot1', {'tpmfleet_shell': 'C-17'}))\n"
        "print(json.dumps([line_of(record).decode(), 'shell' in ASKED_FOR]))\n"
    )
    done = run(sys.executable, "-c", program, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    line, shown = json.loads(done.stdout)
    assert json.loads(line)["shell"] == "C-17" and shown
