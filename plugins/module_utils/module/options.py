# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of one module that travel as one option of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def checked_options(
    module: Any, given: Mapping[str, Any], specification: Mapping[str, Any], required_if: Sequence[Any]
) -> dict[str, Any]:
    """*given* by *specification*, an argument specification, with its defaults; fails *module* with what is wrong."""
    validated = ArgumentSpecValidator(dict(specification), required_if=list(required_if)).validate(dict(given))
    module.no_log_values.update(validated._no_log_values)
    if validated.error_messages:
        module.fail_json(msg=" ".join(validated.error_messages))
    return dict(validated.validated_parameters)
