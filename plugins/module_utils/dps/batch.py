# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module C(dps_enrollments) does: read the records, plan, hold to limits and approvals, apply, report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..lists.reader import InMemory, Reader
from ..lists.source import FileSource
from ..outside import durable
from ..outside.progress import Progress
from .apply import Options, Outcome, Plan, Step, apply_plan, make_plan
from .errors import DpsError
from .manifest import Index, refusal
from .planfile import hold_to, write_plan, write_whole
from .plansummary import summary
from .report import Report
from .selector import Selector
from .service import Service


def enroll(
    service: Service, params: Mapping[str, Any], *, check_mode: bool, show_diff: bool, directory: str
) -> dict[str, Any]:
    """The result of the module. *directory* is where the plan may lie meanwhile."""
    manifest = params["manifest"]
    source: Reader
    if manifest is None:
        source = InMemory(params["enrollments"])
    else:
        source = FileSource(manifest, form=params["format"], delimiter=params["delimiter"])
    try:
        progress = Progress(params["progress_file"], DpsError)
        progress.begin("read", None)
        index = Index(source, template=params["endorsement_key_template"], on_record=progress.step)
        if index.problems and (manifest is not None or params["state"] == "exact"):
            option = "enrollments" if manifest is None else "manifest"
            word, name = index.source.word, manifest or option
            return refusal(index.problems, total=index.total, word=word, name=name, option=option)
        batch = _Batch(service, index, params, progress)
        return batch.run(check_mode=check_mode, show_diff=show_diff, directory=directory)
    finally:
        source.close()


def forget_plans(params: Mapping[str, Any]) -> str | None:
    """Removes the plans of an earlier run, which would be taken for this one's where it fails; why it cannot, or None.

    In check mode too, which writes plans as well.
    """
    written = {name: params[name] for name in ("plan_file", "plan_summary") if params[name]}
    read = {name: params[name] for name in ("approved_plan", "manifest") if params[name]}
    for name, path in written.items():
        for other, kept in (read | written).items():
            if other != name and os.path.realpath(kept) == os.path.realpath(path):
                return f"{name} and {other} are the same file, {path}; nothing was read or written."
    for name, path in written.items():
        try:
            durable.remove(path)
        except OSError as error:
            return f"{name} {path} cannot be replaced ({error.strerror}); nothing was read."
    return None


class _Batch:
    """One run over the good records of *index*."""

    def __init__(self, service: Service, index: Index, params: Mapping[str, Any], progress: Progress) -> None:
        self._service = service
        self._index = index
        self._params = params
        self._progress = progress
        managed = params["managed_fields"]
        self._options = Options(
            absent=params["state"] == "absent",
            replace_key=params["endorsement_key_change"],
            managed=None if managed is None else frozenset(managed),
            # What was approved is done, and nothing else.
            replan=params["on_conflict"] == "replan" and not params["approved_plan"],
            exact=params["state"] == "exact",
            selector=Selector(params["selector"]) if params["selector"] is not None else None,
        )
        # Whether the plan as a whole may not be applied.
        self._refused = False
        self._report = Report(index, results_limit=params["results_limit"], diff_limit=params["diff_limit"])

    def run(self, *, check_mode: bool, show_diff: bool, directory: str) -> dict[str, Any]:
        """Plans, and applies unless in check mode."""
        self._report.problems(self._index.problems)
        failure = None
        try:
            self._plan_and_apply(check_mode=check_mode, directory=directory)
        except DpsError as error:
            failure = error
        result = self._report.as_result()
        if show_diff:
            result["diff"] = self._report.diff()
        total, failed = self._index.total, result["counts"]["failed"]
        if failure is not None:
            left = total - result["counts"]["total"]
            result.update({"failed": True, **failure.as_result()})
            if not self._refused:
                result["msg"] += f" {left} of {total} records were not settled; run again to complete them."
        elif failed and self._params["fail_on_record_error"]:
            first = result["failed_records"][0]
            result.update(
                failed=True,
                msg=f"{failed} of {total} records were refused, the others were applied. "
                f"The first is {first['registration_id']}: {first['reason']}. See failed_records for all.",
            )
        return result

    def _plan_and_apply(self, *, check_mode: bool, directory: str) -> None:
        self._progress.begin("compare", len(self._index))
        plan = make_plan(
            self._service,
            self._index,
            self._options,
            concurrency=self._params["concurrency"],
            directory=directory,
            on_step=self._on_step,
        )
        try:
            self._refused = True
            self._write_and_check(plan)
            self._refused = False
            if check_mode:
                for step in plan.steps():
                    self._report.planned(step)
                return
            self._progress.begin("apply", sum(plan.counts.values()) - plan.counts["unchanged"])
            apply_plan(
                self._service,
                self._index,
                plan,
                self._options,
                concurrency=self._params["concurrency"],
                on_outcome=self._on_outcome,
            )
        finally:
            plan.close()

    def _on_step(self, step: Step) -> None:
        self._progress.step(failed=step.action == "refuse")
        if step.action == "unchanged":
            self._report.unchanged(step)

    def _on_outcome(self, outcome: Outcome) -> None:
        self._progress.step(failed=outcome.action == "failed")
        self._report.outcome(outcome)

    def _write_and_check(self, plan: Plan) -> None:
        """Writes the plan where that is wanted. DpsError where it may not be applied."""
        if self._params["plan_file"]:
            write_plan(self._params["plan_file"], plan, self._service.host)
        if self._params["plan_summary"]:
            text = summary(plan, self._service.host, self._params["diff_limit"])
            write_whole(self._params["plan_summary"], text)
        if self._options.exact:
            check_pruning(plan, self._params["prune_limit"])
        if self._params["approved_plan"]:
            hold_to(self._params["approved_plan"], plan, self._service.host, self._is_done)

    def _is_done(self, action: str, registration_id: str) -> bool:
        """Whether an approved step that is planned no longer has been done: the world is as it would leave it."""
        listed = self._index.number_of(registration_id) is not None
        if action != "delete":
            return listed and not self._options.absent
        if listed:
            return self._options.absent
        return self._options.exact and self._service.enrollment(registration_id) is None


def check_pruning(plan: Plan, limit: Mapping[str, int]) -> None:
    """DpsError if more would be removed than *limit* allows."""
    percent = 100 * plan.pruned / plan.selected if plan.pruned else 0
    if plan.pruned > limit["count"] or percent > limit["percent"]:
        raise DpsError(
            f"{plan.pruned} of {plan.selected} enrollments ({percent:.0f} %) are not listed and would be removed; "
            f"prune_limit allows {limit['count']} and {limit['percent']} %.",
            hint="Nothing was changed. Is the manifest whole? If they are to go, raise prune_limit.",
        )
