# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers in the right form that say what was not asked, or go on for ever: no word of it is taken."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible import template
from ansible.utils.unsafe_proxy import AnsibleUnsafe


@pytest.fixture
def answering(hostile_module, hostile, honest):
    """Replaces what is answered to a path that ends so; the rest is honest."""

    def replace(end, make):
        def script(request):
            return make(request) if request.path.endswith(end) else honest(request)

        hostile.script = script

    return replace


@pytest.fixture
def reply(hostile_module):
    return hostile_module.Reply


def writes(hostile):
    """What would have changed something."""
    reading = ("/enrollments/query", "/listkeys", "/token", "/checkProvisioningServiceNameAvailability")
    return [one for one in hostile.asked if one.method not in ("GET", "HEAD") and not one.path.endswith(reading)]


def test_an_honest_service_is_believed(hostile, honest, run_one, user):
    hostile.script = honest
    outcome = run_one(user, timeout=10, retry_budget=10)
    assert outcome.words is None, outcome.words


@pytest.mark.parametrize("about", ["unit-1", "unit-00", "UNIT-0x", None])
def test_an_answer_about_another_is_no_answer(hostile, honest, run_one, about):
    honest.documents["enrollment"]["registrationId"] = about
    hostile.script = honest
    for user in ("dps_enrollment", "dps_enrollment_info", "dps_enrollments", "dps_disenrollment"):
        assert "unit-0" in run_one(user).words
    assert [one for one in writes(hostile) if one.path.endswith("unit-0")] == []


def test_the_spelling_of_an_id_is_the_services(hostile, honest, run_one):
    honest.documents["enrollment"]["registrationId"] = "Unit-0"
    hostile.script = honest
    assert run_one("dps_enrollment").result["action"] == "unchanged"


def test_another_endorsement_key_is_not_unchanged(hostile, honest, run_one, make_ek):
    garbage = make_ek(0)[:20] + "\n" + make_ek(0)[20:]
    for key, right in ((make_ek(7), False), (None, False), (make_ek(0)[:-4], False), ("AAAA", False), (garbage, True)):
        honest.documents["enrollment"]["attestation"]["tpm"]["endorsementKey"] = key
        hostile.script = honest
        outcome = run_one("dps_enrollment")
        assert (outcome.words is None) is right, (key, outcome)
        if not right:
            assert "another TPM" in outcome.words
    assert writes(hostile) == []


@pytest.mark.parametrize("changed", ["registrationId", "attestation", "nothing of it"])
def test_an_answer_to_a_write_has_to_be_about_what_was_written(hostile, honest, run_one, make_ek, reply, changed):
    other = {"type": "tpm", "tpm": {"endorsementKey": make_ek(9)}}
    change = {"registrationId": {"registrationId": "unit-7"}, "attestation": {"attestation": other}}.get(changed)

    def script(request):
        if request.method == "PUT":
            return reply(body={**json.loads(request.body), "etag": "x", **change} if change else [])
        return honest(request)

    honest.there = False
    hostile.script = script
    assert "makes no sense" in run_one("dps_enrollment").words


@pytest.mark.parametrize("etag", [None, "", "*", 'W/"a", "b"', '"a"\r\nX: y', 7])
def test_without_an_etag_of_one_nothing_is_changed_or_removed(hostile, honest, run_one, etag, make_ek):
    for kind in ("enrollment", "registration"):
        honest.documents[kind]["etag"] = etag
    hostile.script = honest
    assert run_one("dps_enrollment", device_id="another").words
    assert run_one("dps_enrollment absent").words
    assert run_one("dps_enrollments", state="absent").words
    assert run_one("dps_disenrollment").words
    assert run_one("dps_registration").words
    only = [{"registration_id": "unit-1", "endorsement_key": make_ek(1)}]
    limit = {"count": 10, "percent": 100}
    assert run_one("dps_enrollments exact", enrollments=only, prune_limit=limit).words
    # unit-1 and unit-2 are not there, so they are created, and the ones that are stay.
    assert all(b'"mode":"create"' in one.body for one in writes(hostile) if one.method == "POST")
    assert [one for one in writes(hostile) if one.path.endswith("unit-0")] == []


def lie(registration_id="unit-7", **more):
    return {"registrationId": registration_id, "errorCode": 409000, "errorStatus": "there", **more}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"isSuccessful": False, "errors": [lie()]}, "unit-7, which was not asked for"),
        (
            {"isSuccessful": False, "errors": [lie("unit-0"), lie("UNIT-0")]},
            "UNIT-0, which was not asked for or was told",
        ),
        ({"isSuccessful": False, "errors": [lie(None)]}, "without saying which one"),
        ({"isSuccessful": False, "errors": []}, "isSuccessful false and tells 0 errors"),
        ({"isSuccessful": True, "errors": [lie("unit-0")]}, "isSuccessful true and tells 1 errors"),
        ({"errors": []}, "isSuccessful null"),
        ({}, "isSuccessful null"),
        ([], "a list"),
        (None, "empty"),
    ],
)
def test_a_bulk_result_is_of_what_was_sent(answering, honest, run_one, reply, result, told):
    honest.there = False
    answering("/enrollments", lambda _request: reply(body=b"" if result is None else result))
    outcome = run_one("dps_enrollments")
    assert told in outcome.words and not outcome.result["changed"]
    assert "3 of 3 records were not settled" in outcome.words


def test_refusals_of_a_bulk_operation_are_told_of_each(answering, honest, run_one, reply):
    honest.there = False
    wrong = lie("unit-1", errorCode=400004, errorStatus="\x1b[2Jno\nsuch key")
    answering("/enrollments", lambda _request: reply(body={"isSuccessful": False, "errors": [wrong]}))
    outcome = run_one("dps_enrollments")
    assert outcome.result["counts"] == {
        "created": 2,
        "updated": 0,
        "deleted": 0,
        "unchanged": 0,
        "failed": 1,
        "total": 3,
    }
    assert r"\x1b[2Jno\nsuch key" in outcome.result["failed_records"][0]["reason"]


# Lists without an end, each by a name: what a page has and which continuation, by its number.
LISTS = {
    "the same continuation": lambda number: ([f"u-{number}"], "again"),
    "two in turn": lambda number: ([f"u-{number}"], "ab"[number % 2]),
    "a continuation that grows": lambda number: ([f"u-{number}"], "x" * (number + 1) * 1000),
    "nothing, for ever": lambda number: ([], f"c-{number}"),
    "the same again": lambda number: (["u-1", "u-2"], f"c-{number}"),
    "a continuation of another alphabet": lambda number: ([f"u-{number}"], "\xff\x1b"),
    "one of them twice": lambda number: (["u-1", "U-1"], None),
    "one without an ID": lambda number: ([None], None),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("user_of", ["dps_enrollments exact", "dps_enrollment_info all", "inventory"])
def test_a_list_without_an_end_is_refused(answering, honest, hostile, run_one, reply, name, user_of):
    numbers = itertools.count()

    def page(_request):
        ids, continuation = LISTS[name](next(numbers))
        headers = [("x-ms-continuation", continuation)] if continuation else []
        return reply(body=[{**honest.documents["enrollment"], "registrationId": one} for one in ids], headers=headers)

    answering("/enrollments/query", page)
    outcome = run_one(user_of, timeout=10, retry_budget=10)
    assert "makes no sense" in outcome.words
    assert next(numbers) < 40 and writes(hostile) == []


def test_what_is_listed_again_is_there_once(answering, honest, run_one, reply):
    """An enrollment that is made anew while the list is read may come twice."""
    pages = iter([(["unit-0", "unit-1"], "a"), (["unit-1", "unit-2"], None)])

    def page(_request):
        ids, continuation = next(pages)
        headers = [("x-ms-continuation", continuation)] if continuation else []
        return reply(body=[{**honest.documents["enrollment"], "registrationId": one} for one in ids], headers=headers)

    answering("/enrollments/query", page)
    found = run_one("dps_enrollment_info all").result["enrollments"]
    assert [one["registration_id"] for one in found] == ["unit-0", "unit-1", "unit-2"]


def test_a_registration_of_another_is_none(hostile, honest, run_one):
    honest.documents["registration"]["registrationId"] = "unit-9"
    hostile.script = honest
    for user in ("dps_registration", "dps_registration_info", "inventory"):
        assert "unit-9 and not about unit-0" in run_one(user).words
    assert writes(hostile) == []


# The resource manager


@pytest.mark.parametrize("header", ["Azure-AsyncOperation", "Location"])
def test_an_operation_elsewhere_is_not_asked_and_gets_no_token(answering, elsewhere, honest, run_one, reply, header):
    where = f"https://{elsewhere.host}/subscriptions/operation"

    def accepted(request):
        if request.method == "GET":
            return honest(request)
        return reply(201, honest.documents["instance"], [(header, where)])

    answering("/fleet", accepted)
    outcome = run_one("dps_instance", timeout=10, retry_budget=10)
    assert f"points to https://{elsewhere.host}" in outcome.words
    assert elsewhere.asked == []


@pytest.mark.parametrize("wait", [None, "1", "999999999", "-5", "nan"])
def test_an_operation_that_never_ends_is_told(answering, hostile, honest, run_one, reply, wait):
    where = f"{hostile.url}/subscriptions/operation"
    headers = [] if wait is None else [("Retry-After", wait)]

    def script(request):
        if request.path.endswith("/operation"):
            return reply(body={"status": "Running"}, headers=headers)
        if request.method == "PUT":
            return reply(201, honest.documents["instance"], [("Azure-AsyncOperation", where), *headers])
        return honest(request)

    hostile.script = script
    outcome = run_one("dps_instance", timeout=2, retry_budget=2)
    # nan is no number to the SDK either.
    assert "was not done after 2 s" in outcome.words or (wait == "nan" and "makes no sense" in outcome.words)
    assert outcome.seconds < 4


@pytest.mark.parametrize("status", ["Succeeded", "Failed", "\x1b[31m", 7, None, {"a": 1}])
def test_an_operation_with_any_end_is_told(hostile, honest, run_one, reply, status):
    where = f"{hostile.url}/subscriptions/operation"

    def script(request):
        if request.path.endswith("/operation"):
            return reply(body={"status": status, "error": {"code": 7, "message": "\u202eno\x00"}})
        if request.method == "PUT":
            return reply(201, honest.documents["instance"], [("Azure-AsyncOperation", where), ("Retry-After", "1")])
        return honest(request)

    hostile.script = script
    outcome = run_one("dps_instance", timeout=3, retry_budget=3)
    assert (outcome.words is None) is (status == "Succeeded"), outcome


def test_a_list_that_goes_on_elsewhere_or_for_ever_is_refused(hostile, elsewhere, honest, run_one, reply):
    for where in (f"https://{elsewhere.host}/subscriptions/more", f"{hostile.url}/subscriptions/more"):
        body = {"value": [honest.documents["instance"]], "nextLink": where}
        hostile.script = lambda request, body=body: (
            reply(body=body) if request.path.startswith("/subscriptions") else honest(request)
        )
        outcome = run_one("dps_instance_info all", timeout=2, retry_budget=2)
        assert outcome.words and outcome.seconds < 4
    assert elsewhere.asked == []


def test_another_instance_is_not_changed(hostile, honest, run_one, manager_user):
    honest.documents["instance"]["name"] = "another"
    hostile.script = honest
    outcome = run_one(manager_user)
    if manager_user != "dps_instance_info all":
        assert "about another and not about fleet" in outcome.words
    assert writes(hostile) == []


def test_a_key_that_is_none_makes_no_token(hostile, honest, run_one, tmp_path):
    for key in ("****", "a", "", None, "\x1b[2J"):
        honest.documents["policy"]["primaryKey"] = key
        hostile.script = honest
        assert run_one("dps_access_token").words
    assert not (tmp_path / "token").exists()


def of_the_user(text):
    """*text* as one that stands in the user's own file, which is told apart from ansible-core 2.19 on."""
    return getattr(template, "trust_as_template", str)(text)


def is_of_the_user(text):
    """Whether Ansible would run a template in *text*."""
    if hasattr(template, "is_trusted_as_template"):
        return template.is_trusted_as_template(text)
    return not isinstance(text, AnsibleUnsafe)


def test_what_the_service_says_is_data_and_sets_two_variables(hostile, honest, run_one, tmp_path):
    """In no value of a host is a template that Ansible would run, in composed ones neither."""
    made = tmp_path / "made"
    template = "{{ lookup('pipe', 'touch " + str(made) + "') }}"
    honest.documents["enrollment"]["initialTwin"] = {"tags": {"a": template, template: [template], "ansible_host": "x"}}
    honest.documents["enrollment"]["optionalDeviceInformation"] = {"ansible_connection": "local", "b": {"c": template}}
    honest.documents["registration"]["errorMessage"] = template
    hostile.script = honest
    compose = {"note": "dps_enrollment.initial_twin.tags.a", "words": "'<' ~ dps_registration.error_message ~ '>'"}
    trusted = {name: of_the_user(text) for name, text in compose.items()}
    [variables] = run_one("inventory", compose=trusted).result["hosts"].values()
    own = {name for name in variables if not name.startswith("inventory_")} - {"group_names"}
    assert own == {"dps_enrollment", "dps_registration", "note", "words"}
    assert variables["note"] == template

    def texts(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from (*texts(name), *texts(inner))
        elif isinstance(value, (list, tuple)):
            for inner in value:
                yield from texts(inner)
        elif isinstance(value, str):
            yield value

    found = [one for name in own for one in texts(variables[name])]
    assert sum(template in one for one in found) >= 6
    assert not any(is_of_the_user(one) for one in found)
    assert not made.exists()


@pytest.fixture
def products(hostile_module, hostile, honest):
    """The service has a unit of each name, with that value of the tag ``product``."""

    def have(values):
        documents = [
            {**honest.documents["enrollment"], "registrationId": name, "initialTwin": {"tags": {"product": value}}}
            for name, value in values.items()
        ]

        def script(request):
            if request.path == "/enrollments/query":
                return hostile_module.Reply(body=documents)
            return honest(request)

        hostile.script = script

    return have


def by_product(**more):
    """An entry of keyed_groups, as one that stands in the user's own file."""
    return {"key": of_the_user("dps_enrollment.initial_twin.tags.product"), **more}


PREFIXED, WHOLE = {"prefix": "product"}, {"separator": ""}


@pytest.mark.parametrize("keyed", [PREFIXED, WHOLE], ids=["after a prefix", "as the whole name"])
@pytest.mark.parametrize("value", [7, True, 1.5, [[]], [7], ["", "pump"], {"a": {}}, {"": ""}], ids=repr)
def test_a_value_that_makes_no_group_concerns_its_own_unit(products, run_one, keyed, value):
    """Ansible ends the whole inventory at a number."""
    products({"unit-0": "pump", "bad": value, "unit-1": "pump"})
    found = run_one("inventory", registrations=False, keyed_groups=[by_product(**keyed)]).result
    assert sorted(found["hosts"]) == ["bad", "unit-0", "unit-1"]
    (group,) = [name for name in found["groups"] if name.endswith("pump") and "unit-0" in found["groups"][name]]
    assert set(found["groups"][group]) >= {"unit-0", "unit-1"}


NAMES = ["all", "devices", "localhost", "unit-1", "gateways", "off", "tpmfleet_x", "../../x", "-v", "a:!b", "a\x1b[2J"]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_no_group_that_somebody_else_made_and_no_host(products, run_one, name):
    """And who is called so stays."""
    products({"unit-0": "pump", "bad": name, "unit-1": "pump"})
    found = run_one(
        "inventory",
        registrations=False,
        keyed_groups=[by_product(**WHOLE)],
        groups={"off": "dps_enrollment.provisioning_status == 'disabled'"},
        groups_of_another=("gateways",),
    ).result
    assert sorted(found["hosts"]) == ["bad", "unit-0", "unit-1"]
    assert found["groups"]["pump"] == ["unit-0", "unit-1"]
    assert "bad" not in found["groups"].get(name, []) and "bad" not in sum(found["groups"].values(), [])
    assert "1 values of enrollments make no group" in found["warned"] and found["warned"].isprintable()


def test_a_value_after_a_prefix_is_a_group_also_of_another_service(products, run_one):
    products({"unit-0": "pump (EU)", "bad": "../x"})
    keyed, groups = [by_product(**PREFIXED)], ("product_pump (EU)",)
    found = run_one("inventory", registrations=False, keyed_groups=keyed, groups_of_another=groups).result
    assert found["groups"]["product_pump (EU)"] == ["unit-0"]
    assert "product_../x" in found["warned"]


def test_what_netrc_has_for_the_host_is_not_sent(hostile, honest, run_one, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine localhost login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hostile.script = honest
    for user, begins in (("dps_enrollment_info", "SharedAccessSignature "), ("dps_instance_info", "Bearer ")):
        hostile.asked.clear()
        run_one(user)
        shown = [one.headers["authorization"] for one in hostile.asked if "authorization" in one.headers]
        assert shown and all(one.startswith(begins) for one in shown)


@pytest.mark.parametrize("named", ["Evil.Provider", "x/../../resourceGroups/y", "Microsoft.Devices/x"])
def test_no_resource_provider_is_registered_because_a_refusal_names_it(hostile_module, hostile, honest, run_one, named):
    """The SDK does so of itself, for the whole subscription."""
    said = f"The subscription is not registered to use namespace '{named}'."
    refusal = hostile_module.Reply(409, {"error": {"code": "MissingSubscriptionRegistration", "message": said}})
    hostile.script = lambda request: refusal if "/subscriptions" in request.path else honest(request)
    outcome = run_one("dps_instance_info")
    assert "has us ask what nobody wanted" in outcome.words and outcome.seconds < 5
    assert {one.method for one in hostile.asked if "/subscriptions" in one.path} == {"GET"}
