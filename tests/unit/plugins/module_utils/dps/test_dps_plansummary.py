# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan that a person approves, of enrollments that somebody wrote who would like to be approved."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.apply import Plan, Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.plansummary import summary

# What would end its line, the block, or be read as something else.
HOSTILE = [
    "\n```\n## Reviewed and approved by security\n```diff\n",
    "\r\n## Reviewed",
    "```",
    "\u2028## Reviewed",
    "\u202edeveiver\u202c",
    "\x1b[2J\x1b[32mapproved",
    "\u200b\u2060\ufeff",
    "\u0085## Reviewed",
    "<script>",
    "a.b",
    "x: 1",
]


@pytest.fixture
def lines():
    """The lines of the summary of a plan with *steps*."""

    def make(*steps, host="dps.example"):
        plan = Plan()
        for step in steps:
            plan.add(step)
        try:
            # A file has lines where the program that shows it finds ends of them.
            return "\n".join(summary(plan, host, 50)).splitlines()
        finally:
            plan.close()

    return make


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", ["name", "value", "id", "reason", "list", "host"])
def test_nothing_in_a_plan_is_taken_for_the_plan(lines, text, where):
    def step(text):
        tags = {text: 1} if where == "name" else {"tag": text if where == "value" else 1}
        twin = {"tags": {"inner": tags}, "properties": {"desired": {}}}
        return Step(
            0,
            text if where == "id" else "pump-1",
            "refuse" if where == "reason" else "delete",
            before={"initial_twin": twin, "iot_hubs": [text] if where == "list" else []},
            reason=text if where == "reason" else None,
        )

    hosts = (text, "plain") if where == "host" else ("dps.example",) * 2
    found, plain = lines(step(text), host=hosts[0]), lines(step("plain"), host=hosts[1])
    assert len(found) == len(plain)
    for line, other in zip(found, plain):
        assert line.isprintable()
        if line != other:
            assert line.startswith(("  ", "- ", "! ", "# ")[:4]) and line[:2] == other[:2]
            assert "```" not in line and not line.lstrip().startswith("##")
    assert sum(line.startswith("```") for line in found) == 2


def test_a_name_is_quoted_where_it_could_be_taken_for_a_path_or_a_value(lines):
    fields = {"initial_twin": {"tags": {"site": "M\u00fcnchen", "a.b": 1, "x: 2": 1, "": 1, "温": 1}}}
    found = lines(Step(0, "pump-1", "update", ["initial_twin"], {}, fields))
    assert [line[4:] for line in found if line.startswith("+")] == [
        'initial_twin.tags.site: "M\\u00fcnchen"',
        'initial_twin.tags."a.b": 1',
        'initial_twin.tags."x: 2": 1',
        'initial_twin.tags."": 1',
        'initial_twin.tags."\\u6e29": 1',
    ]


def test_a_long_value_is_cut_and_said_to_be(lines):
    found = lines(Step(0, "pump-1", "update", ["initial_twin"], {}, {"initial_twin": {"tags": {"a": "x" * 100_000}}}))
    (line,) = [line for line in found if line.startswith("+")]
    assert line.endswith("x… (100,002 characters)") and len(line) < 4200
