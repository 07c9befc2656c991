# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ledger's modules share: their option, their times, and how a ledger's faults become a module's failure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..dps.errors import DpsError
from ..ledger.database import SQLALCHEMY_IMPORT_ERROR, Access, LedgerError, is_new, opened, password_in, upgraded
from ..trust.findings import TrustError
from .failure_kind import AGAIN, SETUP, failure, option_of

_WRITTEN_BY = ("operator", "run_id")


def ledger_option() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.ledger)."""
    return {"ledger": {"type": "str", "required": True}}


def event_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.events)."""
    return {name: {"type": "str", "default": ""} for name in _WRITTEN_BY}


def written_by(params: Mapping[str, Any]) -> dict[str, str]:
    """What *params* say of who writes an event, and in which run; nothing of what they leave out."""
    return {name: params[name] for name in _WRITTEN_BY if params[name]}


def now() -> str:
    """The time that is noted: UTC, to the second, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def run(
    module: AnsibleModule,
    function: Callable[..., dict[str, Any]],
    *,
    reads_only: bool = False,
    cut: bool = False,
    prepare: Callable[[], Any] | None = None,
) -> None:
    """Exits *module* with what *function* returns for the open ledger, or fails it; then nothing was written.

    *cut* is whether it can be read also where it was cut at its end. *function* is given as well what *prepare* returns
    before other stations have to wait.
    """
    if SQLALCHEMY_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("SQLAlchemy", reason="to keep the line's ledger"),
            exception=SQLALCHEMY_IMPORT_ERROR,
        )
    password = password_in(module.params["ledger"])
    if password:
        # It belongs elsewhere, and Ansible would show it with the module's arguments.
        module.no_log_values.add(password)
    access = Access.READ if reads_only else Access.PREDICT if module.check_mode else Access.WRITE
    result: dict[str, Any]
    new, news = False, None
    try:
        prepared = [] if prepare is None else [prepare()]
        with opened(module.params["ledger"], access, cut=cut) as connection:
            result = function(connection, *prepared)
            new, news = is_new(connection), upgraded(connection)
            if result.get("failed"):
                connection.rollback()
                news = None
    except LedgerError as error:
        news = None
        option = option_of(error, module.params) or "ledger"
        result = {"failed": True, "msg": str(error), **failure(AGAIN if error.passing else SETUP, option)}
    except (DpsError, TrustError) as error:
        news = None
        result = {"failed": True, "msg": str(error), **failure(SETUP, option_of(error, module.params))}
    if new:
        module.warn(
            "The ledger is new: no device and no list is known to it. If this line had one before, stop here and bring "
            "it back, or no twin of its devices is found."
        )
    if news:
        module.warn(news)
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
