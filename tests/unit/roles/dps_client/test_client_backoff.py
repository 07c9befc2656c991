# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a client waits: jitter over the whole range, growth up to the cap, and the service's own word obeyed."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def waits(monkeypatch, program):
    """A function: two hundred waits after the n-th failure."""
    monkeypatch.setattr(sys, "path", [str(program), *sys.path])
    from tpmfleet_dps_client.backoff import delay
    from tpmfleet_dps_client.configuration import Configuration
    from tpmfleet_dps_client.errors import ClientError

    configuration = Configuration(id_scope="0ne1", backoff_base=2, backoff_cap=100, refused_delay=1000)
    return lambda failures, **error: [delay(configuration, failures, ClientError("x", **error)) for _turn in range(200)]


def test_the_first_wait_is_short_and_jittered_over_the_whole_range(waits):
    drawn = waits(1)
    assert max(drawn) <= 2
    assert max(drawn) - min(drawn) > 1


def test_waits_grow_up_to_the_cap(waits):
    assert 16 < max(waits(5)) <= 32
    assert 50 < max(waits(1000)) <= 100


def test_retry_after_is_waited_in_any_case_and_the_herd_is_spread_after_it(waits):
    drawn = waits(1, retry_after=30)
    assert min(drawn) >= 30
    assert max(drawn) > 40


def test_a_refusal_is_asked_again_slowly_and_never_given_up(waits):
    assert all(500 <= wait <= 1500 for wait in waits(1, refused=True))
