# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be as it should before a step does anything: a list of checks, each of which says what is wrong in words.

A check gets the variables of the first host, in which ``hostvars`` and ``ansible_play_batch`` are those of the
batch, and gives sentences, none where all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible import constants as C

# As their names end, those of other collections too.
_EACH_FOR_ITSELF = ("free", "host_pinned")


def facts_stay_facts(_variables: dict[str, Any]) -> Iterable[str]:
    """A fact is what a device says. Where Ansible injects it as a variable, the device decides what a step does."""
    if C.INJECT_FACTS_AS_VARS:
        yield (
            "Ansible is set to make variables of facts, so that a device could change any setting of its step, such as "
            "the EK list policy. Set inject_facts_as_vars = false in [defaults] of ansible.cfg, or "
            "ANSIBLE_INJECT_FACT_VARS=false in the environment."
        )


def out_of_step(strategy: str) -> Iterable[str]:
    """Where each host goes on by itself, nobody can judge a batch, and what is done once would be done for each."""
    if strategy.rpartition(".")[2].endswith(_EACH_FOR_ITSELF):
        yield (
            f"The strategy '{strategy}' has each device go on by itself, and the devices of a batch are judged "
            "together. Take strategy: linear for this play."
        )


# In the order in which they are told.
CHECKS: tuple[Callable[[dict[str, Any]], Iterable[str]], ...] = (facts_stay_facts,)


def wrong_at_start(variables: dict[str, Any]) -> list[str]:
    """What is wrong with the configuration and the *variables*, in words; empty where the step can start."""
    return [sentence for check in CHECKS for sentence in check(variables)]
