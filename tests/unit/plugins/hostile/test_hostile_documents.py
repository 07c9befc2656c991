# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents of the services that are wrong in any place: refused in words or harmless, in every module.

Of a document as the real service sends it one value is replaced. Each module, and the inventory, reads it in this
process; a traceback fails the test. What is claimed about something that was not asked for is believed by none.
"""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import answers, enrollment
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.shape import Unfit
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management import (
    access_policy,
    documents,
    instance,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REMOVED = object()
VALUES = [
    REMOVED,
    None,
    True,
    0,
    -1,
    1 << 80,
    "",
    "x",
    "*",
    "\u202e\x1b[2J\nPULL rack1-slot01",
    'a", "b',
    "a\r\nX-Injected: yes",
    "A" * 100_000,
    [],
    [[]],
    ["x", 7],
    {},
    {"x": {"y": None}},
    {"": []},
]


def places_in(document, path=()):
    """Where something stands in *document*, the whole of it first."""
    yield path
    if isinstance(document, dict):
        for name, inner in document.items():
            yield from places_in(inner, (*path, name))
    elif isinstance(document, list):
        for number, inner in enumerate(document):
            yield from places_in(inner, (*path, number))


def replaced(document, path, value):
    """*document* with *value* in that place."""
    if not path:
        return {} if value is REMOVED else value
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


READ = {
    "enrollment": lambda document: enrollment.as_result(answers.enrollment(document, "unit-0")),
    "registration": lambda document: enrollment.registration_result(answers.registration(document, "unit-0"), "unit-0"),
    "bulk": lambda document: answers.bulk_errors(document, ["unit-0"]),
    "instance": lambda document: instance.as_result(documents.instance_document(document, "fleet")),
    "policy": lambda document: access_policy.shown_policy(documents.policy_documents([document])[0]),
}


@pytest.mark.parametrize("kind", sorted(READ))
def test_every_place_with_every_value_is_read_or_refused(honest, kind):
    document = honest.documents[kind]
    refused = 0
    for place in places_in(document):
        for value in VALUES:
            try:
                json.dumps(READ[kind](replaced(document, place, value)))
            except Unfit as error:
                refused += 1
                assert 5 < len(str(error)) < 400 and str(error).isprintable()
    assert refused > len(VALUES)
    READ[kind](document)


def _wrong_documents(kinds, documents_of):
    """(kind, document with one value replaced) for hypothesis."""
    places = [(kind, place) for kind in kinds for place in places_in(documents_of[kind])]
    thought_of = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    return st.tuples(st.sampled_from(places), st.sampled_from(VALUES) | thought_of).map(
        lambda one: (one[0][0], replaced(documents_of[one[0][0]], one[0][1], one[1]))
    )


def test_no_module_falls_over_a_wrong_document(honest, hostile, run_one, documents_of, user):
    """A traceback would come out of the module here; the rest is held by ``run_one``."""
    right = copy.deepcopy(honest.documents)
    told = []

    @settings(
        max_examples=20,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_wrong_documents(documents_of(user), right), st.booleans())
    def falls_over(wrong, check):
        kind, document = wrong
        honest.documents = {**copy.deepcopy(right), kind: document}
        honest.there = kind != "refusal"
        hostile.script = honest
        hostile.asked.clear()
        outcome = run_one(user, check=check, timeout=5)
        assert outcome.seconds < 6
        told.append(outcome.words)

    falls_over()
    assert any(told) and not all(told)
