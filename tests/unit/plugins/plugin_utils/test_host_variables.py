# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What variables come to is what Ansible makes of them, whatever they name; and no template is compiled twice."""

from __future__ import annotations

import json

import jinja2
import pytest
from ansible import template
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import compiled_once
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.compiled_once import compile_roles, templar
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables

trusted = getattr(template, "trust_as_template", str)


def trusted_all(value):
    if isinstance(value, str):
        return trusted(value)
    if isinstance(value, dict):
        return {name: trusted_all(one) for name, one in value.items()}
    return [trusted_all(one) for one in value] if isinstance(value, list) else value


VARIABLES = trusted_all(
    {
        "plain": "text",
        "number": 7,
        "named": "{{ plain }}",
        "deep": {"a": ["{{ other.b[0] }}", {"c": "{{ named ~ number }}"}]},
        "other": {"b": ["{{ named | upper }}"]},
        "missing": "{{ nowhere | default('none') }}",
        "statement": "{% if number > 5 %}{{ plain }}{% endif %}",
        "left": "plain",
        "by_name": "{{ lookup('vars', left) }}",
        "by_vars": "{{ vars['pl' ~ 'ain'] | default('') }}",
        "result": {"changed": False, "failed": False, "record": {"plain": "{{ number }}"}},
        "of_result": "{{ result.record.keys() | list }}",
    }
)


@pytest.mark.parametrize("name", [name for name in VARIABLES if name != "result"])
def test_a_variable_comes_to_what_ansible_makes_of_it(name):
    whole = template.Templar(loader=DataLoader(), variables=VARIABLES)
    assert HostVariables(VARIABLES, DataLoader()).value(name) == whole.template(VARIABLES[name])


def test_a_lookup_may_copy_the_variables(tmp_path):
    (tmp_path / "policy.j2").write_text("{{ named }} {{ number }} {{ own | default('') }}")
    text = f"{{{{ lookup('template', '{tmp_path}/policy.j2', template_vars={{'own': plain}}) }}}}"
    variables = {**VARIABLES, "by_template": trusted(text), "options": trusted_all({"a": "{{ by_template }}"})}
    assert HostVariables(variables, DataLoader()).value("options") == {"a": "text 7 text"}


def test_what_names_nothing_that_is_there_is_told():
    variables = {"wrong": trusted("{{ nowhere.a }}")}
    with pytest.raises(AnsibleError, match="nowhere"):
        HostVariables(variables, DataLoader()).value("wrong")


def test_what_is_left_out_is_not_in_it():
    variables = trusted_all({"options": {"a": "{{ omit }}", "b": "{{ plain }}", "c": None}, "plain": 1})
    variables.setdefault("omit", "__omit_place_holder__1")
    assert HostVariables(variables, DataLoader()).value("options") == {"b": 1}


def test_since_ansible_core_2_19_what_a_variable_comes_to_is_made_once():
    variables = {
        # What is made of constants alone is made when it is compiled, which is once in any case.
        "most": 1000000000,
        "any": "{{ most | random }}",
        "named": "{{ any }}",
        "options": {"a": "{{ named }}", "b": "{{ any }}"},
    }
    values = HostVariables(trusted_all(variables), DataLoader())
    found = {values.value("named"), *values.value("options").values()}
    assert len(found) == (1 if hasattr(template, "trust_as_template") else 3)


def test_what_cannot_be_made_is_told_each_time():
    values = HostVariables(trusted_all({"wrong": "{{ nowhere.a }}", "named": "{{ wrong }}"}), DataLoader())
    for _time in range(2):
        with pytest.raises(AnsibleError, match="nowhere"):
            values.value("named")


def test_what_was_made_is_not_changed_by_who_has_it():
    values = HostVariables(trusted_all({"list": ["{{ 'a' ~ 'b' }}"], "options": {"a": "{{ list }}"}}), DataLoader())
    values.value("options")["a"].append("c")
    assert values.value("list") == values.value("options")["a"] == ["ab"]


@pytest.fixture
def compiled(monkeypatch):
    """What Jinja is asked to compile."""
    sources = []
    original = jinja2.Environment.compile

    def compile_it(self, source, *arguments, **options):
        sources.append(source)
        return original(self, source, *arguments, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", compile_it)
    return sources


def test_a_template_is_compiled_once_for_all_hosts(compiled):
    text = trusted("{{ plain ~ ' of the test' }}")
    for number in range(3):
        assert templar(DataLoader(), {"plain": number}).template(text) == f"{number} of the test"
    assert compiled == [text]


@pytest.mark.parametrize(
    ("role", "text", "said"),
    [
        ("possession", "{{ tpmfleet_tcti | default('device:/dev/tpmrm0') }}", "device:/dev/tpmrm0"),
        # Of a task, and of one in a block.
        ("device_work", "{{ device_record.endorsement_key }}", "AToA"),
        ("software_install", "{{ software_install_work_orders | length == 0 }}", True),
    ],
)
def test_the_templates_of_the_roles_are_compiled_before_anybody_asks(compiled, role, text, said):
    compile_roles(role)
    del compiled[:]
    variables = {"asked": text, "device_record": {"endorsement_key": "AToA"}, "software_install_work_orders": []}
    assert HostVariables(trusted_all(variables), DataLoader()).value("asked") == said
    assert compiled == []


def test_a_backslash_in_a_template_of_a_role_is_what_it_is_to_ansible(monkeypatch, tmp_path):
    text = "{{ 'a.b' | regex_replace('(a)\\.', '\\1-') }}"
    (tmp_path / "some_role" / "vars").mkdir(parents=True)
    (tmp_path / "some_role" / "vars" / "main.yml").write_text(json.dumps({"replaced": text}))
    monkeypatch.setattr(compiled_once, "ROLES", tmp_path)
    compile_roles("some_role")
    assert HostVariables({"replaced": trusted(text)}, DataLoader()).value("replaced") == "a-b"


def test_a_template_with_delimiters_of_its_own_is_no_others():
    text = "#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% plain %] {{ plain }}"
    assert str(templar(DataLoader(), {"plain": 1}).template(trusted("{{ plain }}"))) == "1"
    assert templar(DataLoader(), {"plain": 1}).template(trusted(text)).strip() == "1 {{ plain }}"
