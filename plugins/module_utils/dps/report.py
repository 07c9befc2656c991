# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a batch's run tells: counts of everything, details of as much as a person or a play can use."""

from __future__ import annotations

from typing import Any

from ..outside.visible import visible
from .apply import DONE, PRUNED, Outcome, Step
from .enrollment import key_digest
from .manifest import Index, Problem

_MOST_SHOWN = 2000


class Report:
    """Gathers outcomes. Counts are exact; *results_limit* and *diff_limit* bound what is listed.

    Failed records are always listed, whatever the limits say.
    """

    def __init__(self, index: Index, *, results_limit: int, diff_limit: int) -> None:
        self._index = index
        self._results_limit = results_limit
        self._diff_limit = diff_limit
        self.counts = dict.fromkeys(("created", "updated", "deleted", "unchanged", "failed"), 0)
        self._results: list[tuple[int, dict[str, Any]]] = []
        self._failed: list[tuple[int, dict[str, Any]]] = []
        self._before: dict[str, Any] = {}
        self._after: dict[str, Any] = {}

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or would be."""
        return any(self.counts[action] for action in ("created", "updated", "deleted"))

    def problems(self, problems: list[Problem]) -> None:
        """Records that are refused before the service hears of them; all problems of one are one outcome."""
        by_place: dict[int, list[Problem]] = {}
        for problem in problems:
            by_place.setdefault(problem.place, []).append(problem)
        for place, found in by_place.items():
            reason = "; ".join(f"{one.field} {one.reason}".strip() for one in found)
            self._note(place, found[0].registration_id, "failed", [], reason)

    def unchanged(self, step: Step) -> None:
        """A record that is as wanted."""
        self._note(self._index.place(step.number), step.registration_id, "unchanged", [], None)

    def planned(self, step: Step) -> None:
        """A step that would be done."""
        self.outcome(Outcome(step, DONE[step.action], step.reason))

    def outcome(self, outcome: Outcome) -> None:
        """What became of a record."""
        step = outcome.step
        # What no record lists comes last.
        place = self._index.place(step.number) if step.number != PRUNED else self._index.total + 1
        failed = outcome.action == "failed"
        self._note(place, step.registration_id, outcome.action, [] if failed else step.changed, outcome.reason)
        if outcome.action in ("created", "updated", "deleted") and len(self._before) < self._diff_limit:
            self._before[step.registration_id] = step.before
            self._after[step.registration_id] = step.after

    def as_result(self) -> dict[str, Any]:
        """The report as a module returns it."""
        total = sum(self.counts.values())
        result = {
            "changed": self.changed,
            "counts": {**self.counts, "total": total},
            "results": [one for _place, one in sorted(self._results, key=_order)],
            "results_omitted": total - len(self._results),
            "failed_records": [one for _place, one in sorted(self._failed, key=_order)],
        }
        return result

    def diff(self) -> dict[str, Any]:
        """The differences of the first records that changed; a key is shown by its digest."""
        changed = sum(self.counts[action] for action in ("created", "updated", "deleted"))
        more = changed - len(self._before)
        header = f"enrollments ({more} more changed ones are not shown)" if more else "enrollments"
        return {
            "before_header": header,
            "after_header": header,
            "before": {name: shown(fields) for name, fields in self._before.items()},
            "after": {name: shown(fields) for name, fields in self._after.items()},
        }

    def _note(self, place: int, registration_id: str | None, action: str, changed: list[str], why: str | None) -> None:
        self.counts[action] += 1
        # An ID that is one stays as it is.
        registration_id = None if registration_id is None else visible(registration_id, most=_MOST_SHOWN)
        why = None if why is None else visible(why, most=_MOST_SHOWN)
        if action == "failed":
            failed = {"registration_id": registration_id, "place": place, "reason": why}
            self._failed.append((place, failed))
        if len(self._results) < self._results_limit:
            one = {"registration_id": registration_id, "action": action, "changed_fields": changed, "reason": why}
            self._results.append((place, one))


def _order(pair: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return pair[0], pair[1]["registration_id"] or ""


def shown(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields for a diff: 430 characters of base64 are no help to a reader, their digest is."""
    if "endorsement_key" not in fields:
        return fields
    return {
        ("endorsement_key_sha256" if name == "endorsement_key" else name): (
            key_digest(value) if name == "endorsement_key" else value
        )
        for name, value in fields.items()
    }
