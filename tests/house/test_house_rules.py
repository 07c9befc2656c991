# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The house's own rules: sanity, lint, documentation, changelog and types.

They run as tests, so that one command and one closing line stand for everything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pip
import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
# In the place of the script that ansible-test fetches from its project's host: the pip of this environment at work in
# another one, which it makes ten of. One that is installed there first, by ensurepip, costs twice what it then does.
# What the first one got, compiled, is the others' as well: they are of one Python.
BOOTSTRAP = """\
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

made = Path({made!r})
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
if not made.exists():
    subprocess.run([sys.executable, {runner!r}, "install", "--target", str(made), *arguments], check=True)
shutil.copytree(made, sysconfig.get_path("purelib"), dirs_exist_ok=True)
"""


def run(*command: str, cwd: Path = COLLECTION, **environment: str) -> str:
    """What *command* printed; its whole output is the failure's message where it fails."""
    done = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A copy that is a git repository of its own, at a path ansible-test accepts.

    Git tells ansible-test and ansible-lint which files are the project's; the placed copy has no git directory.
    """
    root = tmp_path_factory.mktemp("collections")
    place = root / "ansible_collections" / "tpmfleet" / "azure_dps"
    shutil.copytree(COLLECTION, place, ignore=shutil.ignore_patterns("output", "__pycache__", ".ansible", ".*_cache"))
    run_git = ["git", "-c", "user.name=check", "-c", "user.email=check@invalid", "-C", str(place)]
    subprocess.run([*run_git, "init", "--quiet"], check=True)
    subprocess.run([*run_git, "add", "--all"], check=True)
    subprocess.run([*run_git, "commit", "--quiet", "--message", "checked"], check=True)
    return place


@pytest.fixture(scope="session")
def sanity_home(tmp_path_factory):
    """A home directory in which ansible-test finds pip where it would otherwise fetch it from its project's host.

    ansible-test hands no pip settings from the environment on, so the ones in force are written down as a file.
    """
    home = tmp_path_factory.mktemp("home")
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True)
    runner = Path(pip.__file__).with_name("__pip-runner__.py")
    # Releases of ansible-core ask for another one each.
    for name in ("get_pip_23_1_2.py", "get_pip_24_2.py", "get_pip_25_2.py"):
        (cache / name).write_text(BOOTSTRAP.format(runner=str(runner), made=str(home / "pip")))
    sections: dict[str, dict[str, str]] = {}
    for setting in run("pip", "config", "list").splitlines():
        name, _equals, value = setting.partition("=")
        section, _dot, key = name.rpartition(".")
        # An option of several values comes with its line breaks written out.
        value = "\n    ".join(value.strip("'\"").replace("\\n", "\n").split())
        sections.setdefault("global" if section == ":env:" else section, {})[key] = value
    written = "\n".join(
        f"[{section}]\n" + "\n".join(f"{key} = {value}" for key, value in options.items())
        for section, options in sections.items()
    )
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(written)
    return home


def test_sanity(repository, sanity_home):
    """ansible-test's own rules, with no ignore file."""
    assert not list((repository / "tests" / "sanity").glob("ignore*"))
    version = ".".join(map(str, sys.version_info[:2]))
    printed = run(
        "ansible-test", "sanity", "--venv", "--python", version, "--color", "no", cwd=repository, HOME=str(sanity_home)
    )
    assert "validate-modules" in printed


@pytest.fixture(scope="session")
def archive(repository, tmp_path_factory):
    """What goes to Galaxy."""
    place = tmp_path_factory.mktemp("archive")
    run("ansible-galaxy", "collection", "build", "--output-path", str(place), cwd=repository)
    (built,) = place.glob("tpmfleet-azure_dps-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def unpacked(archive, tmp_path_factory):
    """What is in it, where Ansible finds nothing else of ours."""
    place = tmp_path_factory.mktemp("unpacked") / "ansible_collections" / "tpmfleet" / "azure_dps"
    place.mkdir(parents=True)
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    return place


# Most of what it costs is an ansible-playbook for each playbook and role. So each file is linted once: what is shipped
# where nothing else is, which finds more than beside the rest does, and the rest in the repository.
LINT = ("ansible-lint", "--offline", "--profile", "production", "--strict")


def test_ansible_lint_of_what_is_shipped(unpacked, tmp_path):
    """The profile for collections that are to be published, by all rules; Galaxy's importer lints so, by fewer."""
    # antsibull-changelog writes it, and indents otherwise.
    (tmp_path / "ignored").write_text("changelogs/changelog.yaml yaml[indentation] skip\n")
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(unpacked.parents[2]), "PYTHONPATH": ""}
    alone["ANSIBLE_CONFIG"] = str(unpacked / "ansible.cfg")
    run(*LINT, "--ignore-file", str(tmp_path / "ignored"), cwd=unpacked, **alone)


def test_ansible_lint_of_what_is_not(repository, unpacked):
    """The same, of tests, the lab and what else stays in the repository."""
    shipped = [one["name"] for one in json.loads((unpacked / "FILES.json").read_text())["files"]]
    roles = [path.name for path in (unpacked / "roles").iterdir()]
    # A role is looked at as a directory. A path that is excluded stands for each that begins so.
    left_out = [name for name in shipped if (repository / name).is_file()] + [f"roles/{name}" for name in roles]
    others = {path.name for path in (repository / "roles").iterdir()} - set(roles)
    assert others and not [other for other in others if other.startswith(tuple(roles))]
    run(*LINT, "--exclude", *left_out, cwd=repository)


def test_documentation(repository):
    """Every module, plugin and role documents itself in a way the documentation site can render."""
    lint = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", "."]
    run(*lint, cwd=repository)


def test_changelog(repository):
    """Every fragment is one antsibull-changelog takes."""
    assert list((repository / "changelogs" / "fragments").glob("*.yml"))
    run("antsibull-changelog", "lint", cwd=repository)


def test_the_changelog_has_the_release_that_is_built(repository, tmp_path):
    """And what people read is made of what antsibull-changelog keeps."""
    version = yaml.safe_load((repository / "galaxy.yml").read_text())["version"]
    assert version in yaml.safe_load((repository / "changelogs" / "changelog.yaml").read_text())["releases"]
    run("antsibull-changelog", "generate", "--output", str(tmp_path / "CHANGELOG.rst"), cwd=repository)
    assert (tmp_path / "CHANGELOG.rst").read_text() == (repository / "CHANGELOG.rst").read_text()


def test_python_lint():
    """One style for all Python here."""
    run("ruff", "check", "--no-cache", ".")


def test_types():
    """The library code is typed, and the types hold."""
    run("mypy", "--cache-dir", os.devnull, "plugins/module_utils", cwd=COLLECTION)


def test_shell_lint(repository):
    """Shell scripts do what they seem to do."""
    scripts = [str(path) for path in [*repository.glob("scripts/*.sh"), repository / ".ci" / "run"]]
    done = subprocess.run(["shellcheck", *scripts], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_module_is_in_its_action_group():
    """Defaults set for a group reach every module that takes them, and no other."""
    groups = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())["action_groups"]
    for group, members in groups.items():
        taking = []
        for module in sorted((COLLECTION / "plugins" / "modules").glob("*.py")):
            if f"tpmfleet.azure_dps.attributes.actiongroup_{group}\n" in module.read_text():
                taking.append(module.stem)
        assert members == taking, group


def test_role_defaults_are_documented():
    """What a role takes stands in its argument specification, and nothing else does."""
    for role in sorted((COLLECTION / "roles").iterdir()):
        defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text()) or {}
        specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
        options = specification["argument_specs"]["main"]["options"]
        assert not set(defaults) - set(options), role.name
        needed = {name for name, option in options.items() if option.get("required")}
        assert set(options) - set(defaults) - needed <= {
            name for name, option in options.items() if "default" not in option
        }, role.name


def test_role_readmes_are_up_to_date():
    """They are made of what the role says of itself; scripts/role_readmes.py writes them."""
    run("python", "scripts/role_readmes.py", "--check")


def test_galaxy_takes_it(archive, tmp_path):
    """The importer of Ansible Galaxy takes what is built, and has nothing to say of it."""
    # It would lint, for 180 seconds at the most, as test_ansible_lint_of_what_is_shipped does.
    options = ("CHECK_REQUIRED_TAGS = True", "CHECK_CHANGELOG = True", "RUN_ANSIBLE_LINT = False")
    (tmp_path / "importer.cfg").write_text("\n".join(["[galaxy-importer]", *options, ""]))
    # Its own place to unpack is below the temporary directory.
    settings = {"GALAXY_IMPORTER_CONFIG": str(tmp_path / "importer.cfg"), "TMPDIR": str(tmp_path)}
    printed = run("python", "-m", "galaxy_importer.main", str(archive), cwd=tmp_path, **settings)
    assert "Importer processing completed successfully" in printed
    assert "WARNING" not in printed and "ERROR" not in printed, printed
