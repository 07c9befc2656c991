# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that hold devices against EK lists share: that a list is to be mended, and no unit to be pulled."""

from __future__ import annotations

from typing import Any

from ..ledger.judgement import Step
from .failure_kind import SETUP, failure

NO_LIST = (
    "No list of a TPM maker was ever taken in to the ledger {}, and tpmfleet_ek_list_policy requires one. Take it in "
    "with ek_intake (step 1). If that was done, tpmfleet_ledger names another ledger than then."
)
OTHER_LIST = (
    "Of the {} devices held against the lists none is on one: they are hardly all strangers, and more likely came with "
    "another list. Take in the one of their delivery, as tpmfleet_ek_list with ek_intake (step 1), and run again. Have "
    "it from their maker: one that was in the box with them is the word of whoever filled the box. If it was taken in, "
    "tpmfleet_ledger names another ledger than then. If there is no other list, pull them all."
)


def without_list(step: Step, ledger: str) -> dict[str, Any]:
    """What a module adds to its result about the lists against which *step* has held the devices of a batch."""
    if step.missed_list():
        said = {"msg": NO_LIST.format(ledger)}
    elif step.unlisted():
        said = {"msg": OTHER_LIST.format(step.unlisted())}
    else:
        return {"without_list": False, "unlisted": 0}
    told = {"without_list": True, "unlisted": step.unlisted()}
    return {**told, **said, **failure(SETUP, variable="tpmfleet_ek_list")}
