# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan and apply a batch or a fleet of enrollments.

A plan is a stream of steps, kept on disk (:class:`Plan`). Check mode stops there; an apply goes through the same steps.
Reading is by single GETs where few records are wanted, else by paging the whole list, which is given up for GETs once
it has cost more calls than there are records: the cost is bounded by the batch and never by the service's size. A page
may be older than the world. So what it says leads to no write that the service would not refuse then, and that an
enrollment is gone is asked again.

Nothing is overwritten blindly: a creation fails where there is something, an update carries the ETag that its plan was
made from. A record that moved meanwhile is read and planned anew by itself. So a killed run is completed by the next,
and two runs at once on the same records end with what one of them wanted, whole.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import IO, Any, Callable

from .enrollment import FIELDS, Wanted, as_result, changed_fields, key_digest, merged, normal, to_document
from .errors import DpsError
from .manifest import Index
from .selector import Selector
from .service import BULK_BYTES, BULK_MOST, Service

# As many records as are read by single calls: below it a GET each is cheaper than a page that may not have them.
SINGLE_READS = 20
# Below it only one page is tried, which has all of a small service: those of a large one take longer than GETs do.
ONE_PAGE = 100
PAGE_SIZE = 1000
# How often a record that others change under us is planned anew.
REPLANS = 5
# The number of a step that removes what no record lists.
PRUNED = -1
NO_ETAG = "the service gave no ETag for it, and nothing is overwritten or removed blindly"
DONE = {"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged", "refuse": "failed"}


@dataclass(frozen=True)
class Options:
    """What an apply may do.

    *absent*: remove the listed enrollments. *replace_key*: an enrollment may change its TPM. *etag*: only the
    enrollment that has it. *managed*: the fields that an enrollment which is there is compared and changed in, all that
    the record mentions where it is None. *replan*: a record that moved since its plan is read and planned anew, else
    refused. *exact*: remove what is not listed and is in the *selector*, which all that is listed has to be in as well.
    """

    absent: bool = False
    replace_key: bool = False
    etag: str | None = None
    managed: frozenset[str] | None = None
    replan: bool = True
    exact: bool = False
    selector: Selector | None = None


@dataclass(frozen=True)
class Step:
    """What is to be done with one record.

    ``number`` is that of the record, PRUNED where no record lists the enrollment. ``action`` is create, update, delete,
    unchanged or refuse (with ``reason``). ``before`` and ``after`` hold the changed fields only. ``document`` is what
    is to be sent, ``etag`` that of the enrollment it was made from.
    """

    number: int
    registration_id: str
    action: str
    changed: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    etag: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    step: Step
    action: str
    reason: str | None = None
    error: DpsError | None = None


def plan_record(number: int, wanted: Wanted, actual: Mapping[str, Any] | None, options: Options) -> Step:
    """The step that brings one enrollment from *actual* (the service's document, or None) to *wanted*."""
    if actual is None:
        return _plan_new(number, wanted, options)
    registration_id, etag = wanted.registration_id, actual.get("etag")
    before = normal(actual)
    reason = _refusal(wanted, actual, options)
    if reason is None and options.absent:
        return _removal(number, registration_id, actual, before)
    managed = wanted
    if options.managed is not None:
        fields = {name: value for name, value in wanted.fields.items() if name in options.managed}
        managed = Wanted(registration_id, fields)
    after = merged(managed, before)
    reason = reason or _contradiction(registration_id, after, options)
    if reason:
        return Step(number, registration_id, "refuse", reason=reason, etag=etag)
    changed = changed_fields(before, after)
    if not changed:
        return Step(number, registration_id, "unchanged", etag=etag)
    # IDs are case-insensitive; the service keeps the first spelling.
    document = to_document(actual["registrationId"], after, actual)
    old, new = ({name: one[name] for name in changed} for one in (before, after))
    return Step(number, registration_id, "update", changed, old, new, document, etag)


def _plan_new(number: int, wanted: Wanted, options: Options) -> Step:
    """The step where there is no enrollment."""
    registration_id = wanted.registration_id
    if options.absent:
        return Step(number, registration_id, "unchanged")
    after = merged(wanted, None)
    reason = _contradiction(registration_id, after, options)
    if options.etag:
        reason = "there is no enrollment any more, so none with the given etag"
    elif "endorsement_key" not in wanted.fields:
        reason = "there is no such enrollment, and without endorsement_key none can be created"
    if reason:
        return Step(number, registration_id, "refuse", reason=reason)
    changed = [name for name in FIELDS if name in wanted.fields]
    new = {name: after[name] for name in changed}
    return Step(number, registration_id, "create", changed, {}, new, to_document(registration_id, after, None))


def _removal(number: int, registration_id: str, actual: Mapping[str, Any], before: Mapping[str, Any]) -> Step:
    """The step that removes *actual*, whose normal form is *before*."""
    gone = {name: value for name, value in before.items() if value}
    document = to_document(actual["registrationId"], before, actual)
    return Step(number, registration_id, "delete", sorted(gone), gone, {}, document, actual.get("etag"))


def _refusal(wanted: Wanted, actual: Mapping[str, Any], options: Options) -> str | None:
    """Why the enrollment that is there may not be touched, or None."""
    attestation = actual.get("attestation") or {}
    if attestation.get("type") not in (None, "tpm"):
        return f"the enrollment that is there attests by {attestation['type']} and not by TPM; remove it first"
    if options.etag and actual.get("etag") != options.etag:
        return "the enrollment is not the one with the given etag: it was changed since that was read"
    if not actual.get("etag"):
        return NO_ETAG
    key = wanted.fields.get("endorsement_key")
    held = normal(actual)["endorsement_key"]
    if key and held != key and not options.replace_key:
        return (
            f"the enrollment that is there is of another TPM (endorsement key {key_digest(held)}, wanted"
            f" {key_digest(key)}); if the device's TPM was replaced, say so with endorsement_key_change"
        )
    return None


def _contradiction(registration_id: str, after: Mapping[str, Any], options: Options) -> str | None:
    """Why the enrollment as it would be makes no sense, or None."""
    if options.selector and not options.selector.matches(registration_id, after):
        return "it is not in the selector, so with state exact it is none of this manifest's"
    if after["allocation_policy"] == "custom" and not after["custom_allocation"]:
        return "allocation_policy custom needs custom_allocation"
    if after["allocation_policy"] == "static" and not after["iot_hubs"]:
        return "allocation_policy static needs a hub in iot_hubs"
    return None


class Plan:
    """The steps that change or refuse something, on disk in their order; of the rest only the count."""

    def __init__(self, directory: str | None = None) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", dir=directory)  # noqa: SIM115
        self.counts = dict.fromkeys(DONE, 0)
        # How many enrollments are in the selector, and how many of them no record lists.
        self.selected = 0
        self.pruned = 0

    def add(self, step: Step) -> None:
        """Notes one step."""
        self.counts[step.action] += 1
        if step.action == "unchanged":
            return
        self.pruned += step.number == PRUNED
        fields = [
            step.number,
            step.registration_id,
            step.action,
            step.changed,
            step.before,
            step.after,
            # A creation is made from the manifest again, which is nearer than the disk twice.
            step.document if step.action in ("update", "delete") else {},
            step.etag,
            step.reason,
        ]
        self._file.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def steps(self) -> Iterator[Step]:
        """All steps again."""
        self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield Step(*json.loads(line))

    def close(self) -> None:
        """Frees the disk."""
        self._file.close()


def make_plan(
    service: Service,
    index: Index,
    options: Options,
    *,
    concurrency: int = 8,
    directory: str | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Plan:
    """The plan for all good records of *index*. Reads only. *on_step* is told of each step, the unchanged ones too."""
    plan = Plan(directory)

    def note(step: Step) -> None:
        plan.add(step)
        on_step(step)

    unseen = bytearray(b"\x00" * index.capacity())
    for number in index.numbers():
        unseen[number] = 1
    complete = False
    if options.exact:
        complete = _plan_from_pages(service, index, options, unseen, note, plan)
    elif len(index) > SINGLE_READS:
        complete = _plan_from_pages(service, index, options, unseen, note)
    rest = (number for number in range(index.capacity()) if unseen[number])
    # A list may be older than what it lists. A creation that it leads to is refused where there is something; that an
    # enrollment is gone would be believed.
    if complete and not options.absent:
        for number in rest:
            note(plan_record(number, index.wanted(number), None, options))
        return plan

    def read(number: int) -> Step:
        wanted = index.wanted(number)
        return plan_record(number, wanted, service.enrollment(wanted.registration_id), options)

    for step in in_threads(read, rest, concurrency):
        note(step)
    return plan


def _plan_from_pages(
    service: Service,
    index: Index,
    options: Options,
    unseen: bytearray,
    note: Callable[[Step], None],
    everything: Plan | None = None,
) -> bool:
    """Plans what the service lists; whether the list was read to its end, so that the rest is not there.

    With *everything*, the plan of an exact apply, nothing is left out, and what no record lists is removed.
    """
    budget = len(index) if len(index) > ONE_PAGE else 1
    left = len(index)
    for calls, page in enumerate(service.pages(page_size=PAGE_SIZE), start=1):
        for document in page:
            number = index.number_of(str(document.get("registrationId")))
            if everything is not None:
                step = _pruning(document, options)
                everything.selected += step is not None
                if step is not None and number is None:
                    note(step)
            if number is None or not unseen[number]:
                continue
            unseen[number] = 0
            left -= 1
            note(plan_record(number, index.wanted(number), document, options))
        if everything is None and not left:
            return True
        if everything is None and calls >= budget:
            # All that is known of the list is that it goes on.
            return False
    return True


def _pruning(document: Mapping[str, Any], options: Options) -> Step | None:
    """The step that removes an enrollment which no record lists, None where it is none of this manifest's."""
    if (document.get("attestation") or {}).get("type") not in (None, "tpm"):
        return None
    fields = normal(document)
    registration_id = document["registrationId"]
    if options.selector is not None and not options.selector.matches(registration_id, fields):
        return None
    if not document.get("etag"):
        return Step(PRUNED, registration_id, "refuse", reason=NO_ETAG)
    return _removal(PRUNED, registration_id, document, fields)


def apply_plan(
    service: Service,
    index: Index,
    plan: Plan,
    options: Options,
    *,
    concurrency: int = 8,
    on_outcome: Callable[[Outcome], None],
) -> None:
    """Does what *plan* says, and tells *on_outcome* of each record.

    A record that the service refuses is an outcome. What is no record's fault (no answer, no right) ends the apply with
    DpsError, after what is under way was told.
    """

    def batches() -> Iterator[list[Step]]:
        pending: dict[str, list[Step]] = {}
        sizes: dict[str, int] = {}
        for step in plan.steps():
            if step.action == "refuse":
                on_outcome(Outcome(step, "failed", step.reason))
                continue
            if step.action == "create":
                step = plan_record(step.number, index.wanted(step.number), None, options)
            if step.number == PRUNED:
                # By itself: a bulk deletion pays no regard to the ETag, and what was changed since may be wanted.
                yield [step]
                continue
            size = len(json.dumps(step.document))
            batch = pending.setdefault(step.action, [])
            if batch and (len(batch) == BULK_MOST or sizes[step.action] + size > BULK_BYTES):
                yield batch
                batch = pending[step.action] = []
            sizes[step.action] = size if not batch else sizes[step.action] + size
            batch.append(step)
        yield from (batch for batch in pending.values() if batch)

    executor = _Executor(service, index.wanted, options)
    for outcomes in in_threads(executor.run, batches(), concurrency):
        for outcome in outcomes:
            on_outcome(outcome)


class _Executor:
    """Runs batches of steps of one action."""

    _MODES = {"create": "create", "update": "updateIfMatchETag", "delete": "delete"}

    def __init__(self, service: Service, wanted: Callable[[int], Wanted], options: Options) -> None:
        self._service = service
        self._wanted = wanted
        self._options = options

    def run(self, batch: list[Step]) -> list[Outcome]:
        """The outcomes of a batch."""
        action = batch[0].action
        if len(batch) == 1:
            return [self._alone(batch[0])]
        documents = [{**step.document, "etag": step.etag} if step.etag else step.document for step in batch]
        try:
            errors, uncertain = self._service.bulk(self._MODES[action], documents)
        except DpsError as error:
            if error.status not in (400, 413):
                raise
            # The call as a whole was refused for something in one of its records: each by itself tells which.
            return [self._alone(step) for step in batch]
        refused = {one["registrationId"].lower(): one for one in errors}
        outcomes = []
        for step in batch:
            error_of = refused.pop(step.document["registrationId"].lower(), None)
            if error_of is None:
                outcomes.append(Outcome(step, DONE[action]))
            else:
                outcomes.append(self._settle(step, error_of, uncertain))
        return outcomes

    def _settle(self, step: Step, error: Mapping[str, Any], uncertain: bool) -> Outcome:
        """What an error of a bulk operation means for its record."""
        code = error.get("errorCode")
        status = int(str(code)[:3]) if str(code)[:3].isdigit() else None
        told = DpsError(
            f"{step.action} refused: {str(error.get('errorStatus') or 'no reason given').rstrip('.')}",
            status=status,
            error_code=code,
        )
        if status in (404, 409, 412):
            return self._replan(step, told, uncertain)
        if status == 429 or (status or 0) >= 500:
            return self._alone(step)
        return Outcome(step, "failed", str(told), told)

    def _alone(self, step: Step) -> Outcome:
        """One step by a call of its own."""
        try:
            self._call(step)
        except DpsError as error:
            if step.number == PRUNED and error.status == 412:
                return Outcome(step, "failed", f"{error} It was not removed.", error)
            if error.status in (409, 412) or (error.status == 404 and error.error_code and step.action == "update"):
                return self._replan(step, error, error.uncertain)
            if error.of_record:
                return Outcome(step, "failed", str(error), error)
            raise
        return Outcome(step, DONE[step.action])

    def _replan(self, step: Step, error: DpsError, uncertain: bool) -> Outcome:
        """The world moved under a step: read the record, plan it anew, do that."""
        if self._options.etag:
            return Outcome(step, "failed", str(error), error)
        wanted = self._wanted(step.number)
        for _round in range(REPLANS):
            actual = self._service.enrollment(wanted.registration_id)
            if actual is None and step.action == "create":
                # What exists is something else, such as another enrollment with this endorsement key.
                return Outcome(step, "failed", str(error), error)
            again = plan_record(step.number, wanted, actual, self._options)
            if again.action == "unchanged":
                # By our own earlier try, whose answer was lost, or by someone else who wants the same.
                return Outcome(step, DONE[step.action]) if uncertain else Outcome(again, "unchanged")
            if again.action == "refuse":
                return Outcome(again, "failed", again.reason)
            if not self._options.replan:
                moved = f"{error} It was changed since it was planned, and nothing but the plan is done."
                return Outcome(step, "failed", moved, error)
            step = again
            try:
                self._call(step)
            except DpsError as other:
                error = other
                if error.status in (409, 412) or (error.status == 404 and error.error_code):
                    continue
                if error.of_record:
                    break
                raise
            return Outcome(step, DONE[step.action])
        return Outcome(step, "failed", f"{error} It was tried {REPLANS} times, and others kept changing it.", error)

    def _call(self, step: Step) -> None:
        if step.action == "delete":
            self._service.delete_enrollment(step.registration_id, etag=step.etag)
        else:
            self._service.put_enrollment(step.document, etag=step.etag)


def in_threads(function: Callable[[Any], Any], items: Iterator[Any], concurrency: int) -> Iterator[Any]:
    """Results of *function* over *items*, as they come; only twice *concurrency* items are taken at a time.

    After the first exception no more is begun; what is under way is finished and its results are given first.
    """
    ended = threading.Event()

    def unless_ended(item: Any) -> Any:
        if ended.is_set():
            # Begun now it might wait long for a quota that is used up.
            return _NOT_BEGUN
        try:
            return function(item)
        except BaseException:
            ended.set()
            raise

    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        running: set[Future[Any]] = set()
        failure: BaseException | None = None
        exhausted = False
        while True:
            while not exhausted and failure is None and len(running) < 2 * concurrency:
                try:
                    item = next(items)
                except StopIteration:
                    exhausted = True
                except DpsError as error:
                    failure = error
                    ended.set()
                else:
                    running.add(pool.submit(unless_ended, item))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                error_of = future.exception()
                if error_of is not None:
                    failure = failure or error_of
                elif future.result() is not _NOT_BEGUN:
                    yield future.result()
    if failure is not None:
        raise failure


_NOT_BEGUN = object()


def apply_one(service: Service, wanted: Wanted, options: Options, *, check_mode: bool) -> tuple[Outcome, Any]:
    """One enrollment: (its outcome, the enrollment as it is then, in the form of results; None where there is none).

    In check mode nothing is written, and what is returned is what would be.
    """
    actual = service.enrollment(wanted.registration_id)
    step = plan_record(0, wanted, actual, options)
    if step.action == "refuse":
        return Outcome(step, "failed", step.reason), None if actual is None else as_result(actual)
    if step.action == "unchanged" or check_mode:
        if step.action in ("create", "update"):
            # What the service alone decides stays unknown, or as it was.
            actual = {**{name: value for name, value in (actual or {}).items() if name == "registrationState"}}
            actual.update(step.document)
        shown = None if options.absent or actual is None else as_result(actual)
        return Outcome(step, DONE[step.action]), shown
    outcome = _Executor(service, lambda _number: wanted, options).run([step])[0]
    if outcome.error is not None:
        raise outcome.error
    after = None if options.absent else service.enrollment(wanted.registration_id)
    return outcome, None if after is None else as_result(after)
