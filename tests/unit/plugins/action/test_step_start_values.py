# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that no step can work with are told at its head: once, with the choices, and before a device is asked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.action.step_start import ActionModule
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import (
    misspelt,
    switches_of,
    variables_of,
    wrong_values,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.identities import (
    addresses_of_several,
    names_of_several,
    names_that_are_no_text,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import without_quotation
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rights import is_without_root, takes_root
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.service_settings import (
    missing_files,
    wrong_enrollment_settings,
    wrong_ledgers,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COLLECTION = Path(__file__).resolve().parents[4]
ROLES = COLLECTION / "roles"
STEP = ROLES / "software_install"


@pytest.fixture
def play(run_step, tmp_path):
    """Runs a step over three units that do not exist; (what was printed, the summary)."""

    def run(playbook, *arguments, environment=None, of_unit1=None, of_unit3=None, **of_unit2):
        units = {f"unit{number}": {"ansible_host": f"192.0.2.{number}"} for number in (1, 2, 3)}
        units["unit1"].update(of_unit1 or {})
        units["unit3"].update(of_unit3 or {})
        units["unit2"].update(of_unit2)
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"devices": {"hosts": units}}))
        return run_step(
            playbook if playbook.endswith(".yml") else f"tpmfleet.azure_dps.{playbook}",
            *("-e", f"tpmfleet_ledger={tmp_path}/ledger", "-e", "tpmfleet_dps_id_scope=0ne00000000", *arguments),
            **(environment or {}),
        )

    return run


def test_a_value_that_is_no_choice_is_said_once_for_the_play(play):
    printed, summary = play("software_install", "-e", "tpmfleet_ownership_profile=SDK", "-e", "tpmfleet_tpm_timeout=-5")
    (mend,) = summary["mend"]
    assert mend["variable"] == "tpmfleet_tpm_timeout" or mend["variable"] == "tpmfleet_ownership_profile"
    assert "tpmfleet_ownership_profile is 'SDK', which is none of fleet, sdk." in mend["reason"], printed
    assert "tpmfleet_tpm_timeout is '-5', which is no whole number of 1 or more." in mend["reason"]
    assert mend["units"] == summary["held_up"] == ["unit1", "unit2", "unit3"] and summary["pull"] == []
    assert printed.count("fatal: ") == 1 and "Nothing was changed." in mend["reason"]


@pytest.mark.parametrize(
    ("variables", "variable", "words"),
    [
        (
            {"tpmfleet_dps_connection_string": "HostName=dps.example;SharedAccessKey=c2VjcmV0"},
            "tpmfleet_dps_connection_string",
            "SharedAccessKeyName is missing",
        ),
        (
            {"tpmfleet_dps_connection_string": "HostName=hub.example;DeviceId=d;SharedAccessKey=c2VjcmV0"},
            "tpmfleet_dps_connection_string",
            "it has a DeviceId",
        ),
        ({"tpmfleet_dps_ca_file": "/nope.pem"}, "tpmfleet_dps_ca_file", "there is no file /nope.pem on the controller"),
        ({"tpmfleet_serial_number": "TF"}, "tpmfleet_serial_number", "is 'TF' for unit1, unit2, unit3, and each"),
        ({"tpmfleet_device_id": "pump"}, "tpmfleet_device_id", "Set it for each host, not for a group"),
        ({"tpmfleet_enrollment": {"iot_hub": "x"}}, "tpmfleet_enrollment", "iot_hub is not a field of an enrollment"),
        ({"tpmfleet_enrollment_50": [1]}, "tpmfleet_enrollment", "tpmfleet_enrollment_50 is no mapping"),
        ({"tpmfleet_enrollment": {"allocation_policy": "Hash"}}, "tpmfleet_enrollment", "allocation_policy"),
    ],
)
def test_what_the_service_would_refuse_is_told_before_a_device_is_touched(play, variables, variable, words):
    printed, summary = play("software_install", "-e", json.dumps(variables))
    (mend,) = summary["mend"]
    assert mend["variable"] == variable and words in mend["reason"], printed
    assert summary["pull"] == [] and "c2VjcmV0" not in printed
    assert "Read the device" not in printed


@pytest.mark.parametrize("step", ["tpm_install", "warehouse", "reprovision"])
def test_other_steps_tell_it_too(play, step):
    _printed, summary = play(step, "-e", json.dumps({"tpmfleet_enrollment_50": [1]}))
    (mend,) = summary["mend"]
    assert mend["variable"] == "tpmfleet_enrollment" and "tpmfleet_enrollment_50 is no mapping" in mend["reason"]


def test_the_setting_of_one_host_is_named_with_it(play):
    _printed, summary = play("software_install", tpmfleet_enrollment_90_unit={"initial_twin": "pump"})
    (mend,) = summary["mend"]
    assert "initial_twin" in mend["reason"] and "(for unit2)" in mend["reason"]


def test_a_value_of_one_host_names_it(play):
    _printed, summary = play("software_install", tpmfleet_dps_client_flavour="azoit", tpmfleet_production="perhaps")
    (mend,) = summary["mend"]
    assert "tpmfleet_dps_client_flavour is 'azoit', which is none of builtin, aziot (for unit2)." in mend["reason"]
    assert "tpmfleet_production is 'perhaps', which is neither true nor false (for unit2)." in mend["reason"]


def test_a_step_that_takes_root_asks_for_it_before_it_begins(play):
    _printed, summary = play("software_install", ansible_become=False, ansible_user="line")
    (mend,) = summary["mend"]
    assert (
        mend["variable"] == "ansible_become"
        and "set become: true in the play, or ansible_become for unit2." in mend["reason"]
    )


WRONG = [
    ("tpmfleet_ownership_profile", "SDK"),
    ("tpmfleet_dps_client_flavour", "azoit"),
    ("tpmfleet_dps_id_scope", "my-dps.azure-devices-provisioning.net"),
    ("tpmfleet_dps_id_scope", ""),
    ("tpmfleet_dps_id_scope", 5),
    ("tpmfleet_previous_dps_id_scope", "0ne 1"),
    ("tpmfleet_tpm_timeout", 0),
    ("tpmfleet_tpm_timeout", "5m"),
    ("tpmfleet_tpm_timeout", True),
    ("tpmfleet_dps_retry_budget", -1),
    ("tpmfleet_key_version", 0),
    ("tpmfleet_key_version", "1.5"),
    ("tpmfleet_previous_key_version", -1),
    ("tpmfleet_dps_client_first_attempt_spread", "nan"),
    ("tpmfleet_ek_list_policy", "Required"),
    ("tpmfleet_ek_certificate_policy", "always"),
    ("tpmfleet_ek_certificate_tolerated", ["key_usage", "keyusage"]),
    ("tpmfleet_ek_certificate_crls_required", "maybe"),
    ("tpmfleet_enroll_at", "step2"),
    ("tpmfleet_replace_tpm", "unit1"),
    ("tpmfleet_endorsement_key_template", "TCG"),
]
RIGHT = [
    ("tpmfleet_ownership_profile", "sdk"),
    ("tpmfleet_dps_id_scope", "0ne00000A1B"),
    ("tpmfleet_previous_dps_id_scope", ""),
    ("tpmfleet_tpm_timeout", "300"),
    ("tpmfleet_previous_key_version", 0),
    ("tpmfleet_dps_client_first_attempt_spread", 0.5),
    ("tpmfleet_ek_certificate_tolerated", []),
    ("tpmfleet_ek_certificate_crls_required", "yes"),
    ("tpmfleet_replace_tpm", True),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_cannot_be_is_told(name, value):
    ((told, words),) = wrong_values(STEP, {name: {"unit1": value}})
    assert told == name and words.startswith(f"{name} is ") and "which is n" in words


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_can_be_is_not(name, value):
    assert wrong_values(STEP, {name: {"unit1": value}}) == []


def test_every_choice_of_every_role_is_looked_at():
    """Where a role's default hands a variable on; nothing is written twice."""
    missing = set()
    for role in ROLES.iterdir():
        options = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
            "options"
        ]
        defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text()) or {}
        known = variables_of(role)
        for name, option in options.items():
            if option.get("choices") and str(defaults.get(name, "")).strip().startswith("{{ tpmfleet_"):
                variable = defaults[name].split()[1]
                missing |= {variable} if option not in known.get(variable, []) else set()
    assert missing == set()


@pytest.mark.parametrize(
    ("variables", "become", "without"),
    [
        ({"ansible_user": "line"}, True, False),
        ({"ansible_user": "line"}, False, True),
        ({"ansible_user": "root"}, False, False),
        ({}, False, False),
        ({"ansible_user": "line", "ansible_become": "no"}, True, True),
        ({"ansible_user": "line", "ansible_become_user": "tss"}, True, True),
        ({"ansible_user": "{{ who }}"}, False, False),
        ({"ansible_connection": "local"}, False, os.geteuid() != 0),
        ({"ansible_connection": "community.docker.docker", "ansible_user": "line"}, False, False),
    ],
)
def test_only_what_is_certain_is_refused(variables, become, without):
    assert is_without_root(variables, become, "", "") is without


def test_which_steps_take_root():
    assert takes_root("software_install", {"dps_client"}) and takes_root("decommission", set())
    assert not takes_root("tpm_install", {"ownership"}) and not takes_root("ownership_rotation", {"dps_client"})


# What only some devices need is asked of all of them, and of one where all are alike.

BY_NAME = '{"software_install_software_tpm": "{{ inventory_hostname == \'unit2\' }}"}'
OF_THE_GROUP = '{"tpmfleet_software_tpm": "{{ inventory_hostname == \'unit2\' }}"}'


@pytest.mark.parametrize(
    ("arguments", "of_unit2", "needs", "skipped"),
    [
        ([], {}, [], ["unit1"]),
        (["-e", "tpmfleet_software_tpm=false"], {}, [], ["unit1"]),
        ([], {"tpmfleet_software_tpm": False}, [], ["unit1", "unit2", "unit3"]),
        ([], {"tpmfleet_software_tpm": True}, ["unit2"], ["unit1", "unit3"]),
        ([], {"software_install_software_tpm": True}, ["unit2"], ["unit1", "unit3"]),
        (["-e", BY_NAME], {}, ["unit2"], ["unit1", "unit3"]),
        (["-e", OF_THE_GROUP], {}, ["unit2"], ["unit1", "unit3"]),
        (["-e", "tpmfleet_software_tpm=true"], {}, ["unit1", "unit2", "unit3"], []),
    ],
)
def test_a_part_that_no_device_needs_is_skipped_once_and_one_that_some_need_reaches_them(
    play, arguments, of_unit2, needs, skipped
):
    printed, _summary = play("software_install", "-e", "tpmfleet_production=false", *arguments, **of_unit2)
    part = printed.split("TASK [Install a software TPM on a prototype]", 1)[1].split("\nTASK ", 1)[0]
    # Which host's worker ends first is chance.
    assert sorted(re.findall(r"^skipping: \[(\w+)\]", part, re.MULTILINE)) == sorted(skipped), printed
    included = re.findall(r"^included: .* for (.*)$", part, re.MULTILINE)
    assert sorted(host for hosts in included for host in hosts.split(", ")) == sorted(needs)


def test_what_is_a_template_or_encrypted_is_known_when_it_is_used():
    class Encrypted:
        """As both of Ansible's classes are, of which each release has one: no text."""

    for value in ("{{ x }}", "{% if x %}1{% endif %}", "{# why #}1", Encrypted()):
        assert all(map(is_to_be_made, (value, [value], {"a": {"b": [1, value]}}))), value
        named = {"tpmfleet_enrollment": {"allocation_policy": value, "iot_hubs": [value]}}
        assert wrong_enrollment_settings({"unit1": named, "unit2": named}) == []
        assert is_without_root({"ansible_user": value}, False, "", "") is False
    for value in ("x", 1, 1.5, True, None, [], {"a": ["{"]}):
        assert not is_to_be_made(value), value
    said = {"tpmfleet_serial_number": "{% if x %}TF{% endif %}{{ y }}"}
    assert names_of_several({"unit1": said, "unit2": said}) == []


def test_a_template_of_statements_is_no_value(play):
    made = {
        "tpmfleet_production": "{% if true %}true{% endif %}",
        "tpmfleet_previous_dps_id_scope": "{% if true %}0ne00000001{% endif %}",
        "tpmfleet_tpm_timeout": -5,
    }
    _printed, summary = play("software_install", "-e", json.dumps(made))
    (mend,) = summary["mend"]
    assert "tpmfleet_tpm_timeout is -5" in mend["reason"]
    assert "tpmfleet_production" not in mend["reason"] and "tpmfleet_previous" not in mend["reason"]


def test_an_id_scope_may_be_encrypted(play, tmp_path):
    (tmp_path / "password").write_text("pw\n")
    (tmp_path / "values.yml").write_text("tpmfleet_tpm_timeout: -5\ntpmfleet_previous_dps_id_scope: !vault |\n")
    command = [str(ANSIBLE_PLAYBOOK.with_name("ansible-vault")), "encrypt_string", "--vault-password-file", "password"]
    done = subprocess.run([*command, "0ne00000001"], cwd=tmp_path, capture_output=True, text=True, check=True)
    with (tmp_path / "values.yml").open("a") as values:
        values.writelines(f"  {line.strip()}\n" for line in done.stdout.splitlines()[1:])
    _printed, summary = play("software_install", "-e", "@values.yml", "--vault-password-file", "password")
    (mend,) = summary["mend"]
    assert "tpmfleet_tpm_timeout is -5" in mend["reason"] and "tpmfleet_previous" not in mend["reason"]


SECRET = "geheim-4711"


SLIPS = (
    "tpmfleet_ownership_profile",
    "tpmfleet_previous_dps_id_scope",
    "tpmfleet_tpm_timeout",
    "tpmfleet_production",
    "tpmfleet_ek_certificate_tolerated",
    "software_install_software_tpm",
)


@pytest.mark.parametrize(
    ("how", "variables"),
    [("vault", SLIPS), ("file", SLIPS), ("lookup", SLIPS), ("host", SLIPS), ("vault", ["tpmfleet_dps_ca_file"])],
)
def test_a_secret_in_a_wrong_variable_is_not_shown(play, tmp_path, how, variables):
    given, of_unit2 = dict.fromkeys(variables, "{{ lookup('ansible.builtin.env', 'OURS') }}"), {}
    (tmp_path / "password").write_text("pw\n")
    vault = [str(ANSIBLE_PLAYBOOK.with_name("ansible-vault")), "encrypt_string", "--vault-password-file", "password"]
    text = json.dumps(given)
    if how == "host":
        text, of_unit2 = "{}", given
    elif how == "file":
        text = json.dumps(dict.fromkeys(variables, SECRET))
        vault[1:2], vault[4:] = ["encrypt"], ["values.json"]
    elif how == "vault":
        done = subprocess.run([*vault, SECRET], cwd=tmp_path, capture_output=True, text=True, check=True)
        text = "\n".join(f"{one}: {done.stdout}" for one in variables)
    (tmp_path / "values.json").write_text(text)
    if how == "file":
        subprocess.run(vault, cwd=tmp_path, capture_output=True, check=True)
    arguments = [] if how == "lookup" else ["--vault-password-file", "password"]
    printed, summary = play(
        "software_install", "-e", "@values.json", *arguments, environment={"OURS": SECRET}, **of_unit2
    )
    (mend,) = summary["mend"]
    assert SECRET not in printed + json.dumps(summary)
    assert all(one in mend["reason"] for one in variables) and "Nothing was changed" in mend["reason"], printed
    assert "Read the device" not in printed


@pytest.mark.parametrize(
    "value", ["HostName=dps.example;SharedAccessKeyName=a;SharedAccessKey=c2VjcmV0", "k" * 64, "one\ntwo"]
)
def test_what_looks_like_no_slip_is_not_quoted(value):
    ((_name, told),) = wrong_values(STEP, {"tpmfleet_ownership_profile": {"unit1": value}})
    assert told == (
        "tpmfleet_ownership_profile is a value that is not shown (it may be secret), which is none of fleet, sdk "
        "(for unit1)."
    )


SAID = [
    ("value of x must be one of: a, b, got: geheim", "value of x must be one of: a, b"),
    ("value of x must be one or more of: a, b. Got no match for: geheim", "value of x must be one or more of: a, b"),
    (
        "argument 'x' is of type str and we were unable to convert to int: \"'geheim'\" cannot be converted to an int",
        "argument 'x' is of type str and we were unable to convert to int",
    ),
    (
        "Elements value for option 'x' is of type <class 'str'> and we were unable to convert to float: geheim\nno",
        "Elements value for option 'x' is of type <class 'str'> and we were unable to convert to float",
    ),
    ("missing required arguments: x", "missing required arguments: x"),
]


@pytest.mark.parametrize(("said", "told"), SAID)
def test_what_ansible_quotes_is_left_out(said, told):
    assert without_quotation(said) == told


def test_an_argument_that_one_host_alone_has_wrong_is_told_for_it(play):
    printed, summary = play("software_install", software_install_software_tpm="perhaps", dps_client_tcti="x")
    (mend,) = summary["mend"]
    assert mend["variable"] == "software_install_software_tpm" and "convert to bool (for unit2)." in mend["reason"]
    assert summary["pull"] == [] and summary["held_up"] == ["unit1", "unit2", "unit3"], printed
    assert "Read the device" not in printed


@pytest.mark.parametrize("template", ["{{ inventory_hostname == 'unit2' }}", "{% if x %}true{% endif %}"])
def test_a_switch_with_a_template_is_asked_of_each_device(template):
    """One may not tell for all: what it comes to looks at the host."""

    switch = "software_install_software_tpm"
    default, _variables = switches_of(STEP)[switch]

    def off(value, name=switch):
        units = {f"unit{number}": {name: value} for number in (1, 2)}
        hosts = type("Hosts", (dict,), {"raw_get": dict.get})(units)
        action = ActionModule.__new__(ActionModule)
        action._templar = SimpleNamespace(template=lambda _text: False)
        variables = {switch: default, **units["unit1"], "inventory_hostname": "unit1", "hostvars": hosts}
        return switch in action._off(STEP, units, variables)

    assert off(False) and off("no") and not off(True) and not off(["no"])
    assert not off(template)
    assert off(False, "tpmfleet_software_tpm")
    assert not off(template, "tpmfleet_software_tpm")


@pytest.mark.parametrize(
    ("playbook", "made", "switch"),
    [
        ("software_install", {"software_install_software_tpm": "{{ 1 // 0 }}"}, "software_install_software_tpm"),
        ("software_install", {"software_install_software_tpm": "{{ kind }}"}, "software_install_software_tpm"),
        ("tpm_install", {"tpm_install_claim_ownership": "{{ kind }}"}, "tpm_install_claim_ownership"),
    ],
)
def test_a_switch_that_cannot_be_made_for_one_unit_is_told_with_the_unit(play, playbook, made, switch):
    """Ansible reads run_once where it starts tasks: what fails in there ends the run, and names nobody."""
    _printed, summary = play(playbook, "-e", "tpmfleet_production=false", **made)
    (mend,) = summary["mend"]
    assert f"{switch} cannot be made of its template for unit2: " in mend["reason"]
    assert summary["pull"] == [] and "Nothing was changed." in mend["reason"]


def test_a_switch_of_what_the_play_says_is_made(play, tmp_path):
    """Which are no variables of the hosts."""
    playbook = yaml.safe_load((COLLECTION / "playbooks" / "software_install.yml").read_text())
    for one in playbook:
        one["vars"] = {**one.get("vars", {}), "kind": False}
    (tmp_path / "own.yml").write_text(yaml.safe_dump(playbook))
    printed, _summary = play("own.yml", "-e", "tpmfleet_production=false", tpmfleet_software_tpm="{{ kind }}")
    part = printed.split("TASK [Install a software TPM on a prototype]", 1)[1].split("\nTASK ", 1)[0]
    assert sorted(re.findall(r"^skipping: \[(\w+)\]", part, re.MULTILINE)) == ["unit1", "unit2", "unit3"], printed


def test_a_ca_file_is_found_as_a_module_finds_it(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("CERTIFICATES", str(tmp_path))
    for value, words in (
        ("$CERTIFICATES/ca.pem", []),
        ("${CERTIFICATES}/no.pem", ["there is no file ${CERTIFICATES}/no.pem on the controller."]),
        # What base64 makes may be a key that was said of the wrong variable.
        ("a9/Zm8vYmFy", ["there is no file a value that is not shown"]),
        (str(tmp_path), [f"{tmp_path} is a directory. Name one file that has all of its certificates"]),
    ):
        said = {"tpmfleet_dps_ca_file": value}
        told = [told for _name, told in missing_files(said, said)]
        assert [one.split(": ", 1)[1][: len(expected)] for one, expected in zip(told, words)] == words
        assert len(told) == len(words)


def test_what_is_left_out_is_not_looked_at():
    """By omit, which stands for nothing to whatever takes the variable up."""
    action = ActionModule.__new__(ActionModule)
    action._templar = SimpleNamespace(template=lambda value: value)
    own = {"tpmfleet_dps_ca_file": "__omit__", "tpmfleet_tpm_timeout": "__omit__"}
    said = {**own, "omit": "__omit__", "inventory_hostname": "unit1", "hostvars": {}}
    assert action._of_hosts(missing_files, own, {"unit1": own}, said) == []
    assert action._values(own, {"unit1": own}, said) == {name: {} for name in own}


def test_a_ledger_that_cannot_be_one_is_told_before_a_device_is_touched(play, tmp_path, monkeypatch):
    printed, summary = play("software_install", "-e", "tpmfleet_ledger=", tpmfleet_ek_list_polciy="required")
    (mend,) = summary["mend"]
    assert mend["variable"] == "tpmfleet_ledger" and mend["reason"].startswith("tpmfleet_ledger is empty"), printed
    assert "Read the device" not in printed
    told = " ".join(printed.split())
    assert "No step reads tpmfleet_ek_list_polciy (for unit2). Is tpmfleet_ek_list_policy meant?" in told

    def of(*ledgers):
        return [
            words for _name, words in wrong_ledgers({f"u{n}": {"tpmfleet_ledger": x} for n, x in enumerate(ledgers)})
        ]

    assert of(str(tmp_path), str(tmp_path)) == [
        f"The ledger {tmp_path} is a directory. tpmfleet_ledger names one file."
    ]
    # As it is found, which a relative one does not say itself.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ledgers").mkdir()
    assert of("ledgers") == [f"The ledger {tmp_path / 'ledgers'} is a directory. tpmfleet_ledger names one file."]
    (words,) = of("/a", "/a", "/b")
    assert words.endswith("not the same for all devices, which are judged together: look at u2.")
    assert of("/a", "/a", "{{ x }}") == of("postgresql://line@db/line") == wrong_ledgers({"u1": {}}) == []


def test_a_number_for_a_name_is_the_inventorys_and_pulls_nobody():
    said = {
        "unit1": {"tpmfleet_serial_number": "007"},
        "unit2": {"tpmfleet_serial_number": 7, "tpmfleet_device_id": "7"},
    }
    ((name, words),) = names_that_are_no_text(said)
    assert name == "tpmfleet_serial_number" and "Write it in quotes (for unit2)." in words and "7" not in words


@pytest.mark.parametrize(
    ("of_unit2", "variable", "words"),
    [
        (
            {"tpmfleet_serial_number": "TF-1"},
            "tpmfleet_serial_number",
            "is 'TF-1' for unit1, unit2, and each device has",
        ),
        (
            {"ansible_host": "192.0.2.1"},
            "ansible_host",
            "for several devices, 192.0.2.1 for unit1, unit2. Give each its",
        ),
    ],
)
def test_two_units_that_are_called_alike_or_are_one_machine_are_named_before_one_is_touched(
    play, of_unit2, variable, words
):
    printed, summary = play("software_install", of_unit1={"tpmfleet_serial_number": "TF-1"}, **of_unit2)
    (mend,) = summary["mend"]
    assert mend["variable"] == variable and words in mend["reason"], printed
    assert "go on without them: --limit '!unit1,!unit2'. Nothing" in mend["reason"]
    assert mend["reason"].endswith("Nothing was changed. (errors.md#called-alike)")
    assert summary["pull"] == [] and summary["held_up"] == ["unit1", "unit2", "unit3"]
    assert printed.count("fatal: ") == 1 and "Read the device" not in printed


def test_every_name_that_two_have_is_told_with_them_and_some_of_many():
    def told(name, *values):
        return names_of_several({f"u{number}": {name: value} for number, value in enumerate(values)})

    serial, registration, device = (f"tpmfleet_{one}" for one in ("serial_number", "registration_id", "device_id"))
    assert told(serial, "a", "b", "A", "{{ x }}", "{{ x }}", "", "") == told(device, "pump", "Pump") == []
    # The service takes both for one.
    ((name, words),) = told(registration, "pump", "Pump", "other")
    assert name == registration and words.startswith(f"{registration} is 'pump' for u0, u1, and each device has one")
    ((_name, words),) = told(serial, *"abcabc")
    assert "is 'a' for u0, u3; 'b' for u1, u4; 'c' for u2, u5, and each" in words
    ((_name, words),) = told(serial, *"abcdeabcde")
    assert "'c' for u2, u7; and 2 more such values, and each" in words
    ((_name, words),) = told(serial, "k" * 64, "k" * 64)
    assert "is a value that is not shown (it may be secret) for u0, u1" in words
    assert words.endswith("--limit '!u0,!u1'.")
    ((_name, words),) = told(serial, *["TF"] * 8)
    assert "is 'TF' for u0, u1, u2, u3, u4 and 3 more, and" in words
    assert words.endswith(" or go on without them: --limit '!u0,!u1,!u2,!u3,!u4' and so on for 3 more.")
    ((_name, words),) = told(serial, *"abxab")
    assert words.endswith("not for a group, or go on without them: --limit '!u0,!u3,!u1,!u4'.")


AT_ONE = {"ansible_host": "192.0.2.1", "ansible_port": 22}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (AT_ONE, AT_ONE, True),
        (AT_ONE, {**AT_ONE, "ansible_port": "22", "ansible_connection": "ansible.builtin.ssh"}, True),
        ({"ansible_host": "unit2"}, {}, True),
        ({}, {}, False),
        # A simulated rack: one machine, and a port or a TPM for each unit.
        (AT_ONE, {**AT_ONE, "ansible_port": 23}, False),
        ({**AT_ONE, "tpmfleet_tcti": "swtpm:port=1"}, {**AT_ONE, "tpmfleet_tcti": "swtpm:port=2"}, False),
        ({**AT_ONE, "ownership_tcti": "swtpm:port=1"}, AT_ONE, False),
        # Racks with the same addresses behind gateways of their own.
        (AT_ONE, {**AT_ONE, "ansible_ssh_common_args": "-J gateway2"}, False),
        (AT_ONE, {**AT_ONE, "ansible_user": "unit2"}, False),
        ({**AT_ONE, "ansible_ssh_private_key_file": "/1"}, {**AT_ONE, "ansible_ssh_private_key_file": "/2"}, False),
        ({**AT_ONE, "ansible_private_key_file": "/1"}, {**AT_ONE, "ansible_private_key_file": "/2"}, False),
        ({**AT_ONE, "ansible_private_key_file": "/1"}, {**AT_ONE, "ansible_private_key_file": "/1"}, True),
        ({**AT_ONE, "ansible_ssh_host": "192.0.2.9"}, AT_ONE, False),
        # What cannot be told here.
        ({**AT_ONE, "ansible_host": "{{ x }}"}, {**AT_ONE, "ansible_host": "{{ x }}"}, False),
        ({**AT_ONE, "ansible_port": "{{ x }}"}, {**AT_ONE, "ansible_port": "{{ x }}"}, False),
        ({**AT_ONE, "ansible_connection": "local"}, {**AT_ONE, "ansible_connection": "local"}, False),
    ],
)
def test_two_units_are_one_machine_where_the_same_way_leads_to_both(one, other, alike):
    batch = {"unit1": one, "unit2": other, "unit3": {"ansible_host": "192.0.2.3"}}
    for connection in (None, "ssh", "smart"):
        told = addresses_of_several(batch, connection)
        assert [name for name, _words in told] == (["ansible_host"] if alike else []), told
    assert addresses_of_several({"unit1": AT_ONE, "unit2": AT_ONE}, "local") == []


def test_an_address_writes_nothing_on_the_terminal():
    ((_name, words),) = addresses_of_several(dict.fromkeys(("u1", "u2"), {"ansible_host": "a\x1b[2Jb"}), None)
    assert "several devices, a\\x1b[2Jb for u1, u2. Give" in words


# Something else is wrong, so that no unit is waited for.
WRONG = ("-e", "tpmfleet_tpm_timeout=-5")


@pytest.mark.parametrize(
    ("playbook", "arguments", "of_unit2"),
    [
        ("warehouse_audit", (), {}),
        ("decommission", ("-e", "tpmfleet_decommission_lost=true"), {}),
        ("decommission", ("-e", "decommission_lost=true"), {}),
        ("decommission", (), {"tpmfleet_decommission_lost": True}),
        ("decommission", (), {"tpmfleet_decommission_lost": "{{ inventory_hostname == 'unit2' }}"}),
        ("decommission", (), {"decommission_lost": "yes"}),
        # Its own task tells why that cannot be made.
        ("decommission", (), {"tpmfleet_decommission_lost": "{{ nobody }}"}),
    ],
)
def test_who_is_not_come_to_may_share_an_address(play, playbook, arguments, of_unit2):
    """An audit changes no device; a unit that is lost has left its address to another."""
    _printed, summary = play(playbook, *WRONG, *arguments, ansible_host="192.0.2.1", **of_unit2)
    (mend,) = summary["mend"]
    assert "tpmfleet_tpm_timeout is" in mend["reason"] and "ansible_host" not in mend["reason"], mend


@pytest.mark.parametrize("lost", ["unit1", "unit2", "unit3"])
@pytest.mark.parametrize("said", [True, "{{ inventory_hostname in gone }}"])
def test_who_is_lost_is_asked_of_each_unit_whoever_is_the_first(play, lost, said):
    units = {f"unit{number}": {"ansible_host": "192.0.2.9", "gone": [lost]} for number in (1, 2, 3)}
    for name, own in units.items():
        # By each of them, or by the one that it is true of.
        own.update({"tpmfleet_decommission_lost": said} if name == lost or isinstance(said, str) else {})
    one, two, three = units.values()
    _printed, summary = play("decommission", *WRONG, of_unit1=one, of_unit3=three, **two)
    (mend,) = summary["mend"]
    others = ", ".join(name for name in units if name != lost)
    assert f"several devices, 192.0.2.9 for {others}. Give" in mend["reason"], mend


OF_EACH = "{{ 2200 + (inventory_hostname[-1] | int) }}"


@pytest.mark.parametrize(
    ("of_play", "of_role"),
    [
        ({"vars": {"ansible_port": OF_EACH}}, {}),
        ({"port": OF_EACH}, {}),
        # A gateway that knows by the user to whom one wants.
        ({"remote_user": "u{{ inventory_hostname[-1] }}"}, {}),
        ({}, {"remote_user": "u{{ inventory_hostname[-1] }}"}),
        ({"connection": "{{ 'ssh' if inventory_hostname == 'unit1' else 'local' }}"}, {}),
        ({"vars": dict.fromkeys(("endorsement_key_tcti", "ownership_tcti"), f"swtpm:port={OF_EACH}")}, {}),
        ({}, {"vars": {"endorsement_key_tcti": f"swtpm:port={OF_EACH}"}}),
        # None of this leads anywhere else.
        ({"vars": {"endorsement_key_tcti": "device:/dev/tpm0"}, "port": 2200, "remote_user": "root"}, None),
    ],
)
def test_a_play_may_know_another_way_to_each_unit(play, tmp_path, of_play, of_role):
    steps = yaml.safe_load((COLLECTION / "playbooks" / "software_install.yml").read_text())
    for one in steps:
        one.update({**of_play, "vars": {**one.get("vars", {}), **of_play.get("vars", {})}})
        one["tasks"][0].update(of_role or {})
    (tmp_path / "own.yml").write_text(yaml.safe_dump(steps))
    _printed, summary = play("own.yml", *WRONG, ansible_host="192.0.2.1")
    (mend,) = summary["mend"]
    assert "tpmfleet_tpm_timeout is" in mend["reason"]
    assert ("192.0.2.1 for unit1, unit2. Give" in mend["reason"]) == (of_role is None), mend


@pytest.mark.parametrize("step", ["tpm_install", "reprovision", "replace_tpm", "decommission"])
def test_each_step_that_works_on_devices_tells_of_one_machine(play, step):
    _printed, summary = play(step, ansible_host="192.0.2.1")
    (mend,) = summary["mend"]
    assert "192.0.2.1 for unit1, unit2" in mend["reason"]


def test_only_what_is_almost_a_variable_is_taken_for_misspelt():
    names = ("tpmfleet_master_kye", "tpmfleet_ours", "tpmfleet_enrollment_90_unit", "tpmfleet_ledger")
    (told,) = misspelt(ROLES, {"unit1": dict.fromkeys(names, "x"), "unit2": {}})
    assert told == "No step reads tpmfleet_master_kye (for unit1). Is tpmfleet_master_key meant?"
    assert misspelt(ROLES, {"unit1": {name: "x" for name in variables_of(STEP)}}) == []
