# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the documentation site into the directory OUTPUT: the guides, the changelog, and what each plugin and
role says of itself (antsibull-docs). A warning ends it. Wants the collection where Ansible finds it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parents[1]
# Documents outside of docs/, and what their page is called.
PAGES = {"README.md": "overview", "CONTRIBUTING.md": "contributing", "SECURITY.md": "security"}
TOOLS = Path(sys.executable).parent


def linked(text: str, folder: str, repository: str) -> str:
    """A document of *folder* with its links: to pages of the site, else to the file in the *repository*."""

    def target(found: re.Match[str]) -> str:
        path, anchor = (COLLECTION / folder / found[1]).resolve().relative_to(COLLECTION), found[2] or ""
        if str(path) in PAGES:
            return f"]({PAGES[str(path)]}.md{anchor})"
        if path.parent.name == "docs" and path.suffix in (".md", ".svg"):
            return f"]({path.name}{anchor})"
        if str(path) == "CHANGELOG.rst":
            return "](changelog.rst)"
        return f"]({repository}/blob/main/{path}{anchor})"

    return re.sub(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)]*)?\)", target, text)


def assemble(place: Path) -> None:
    """Puts the sources of the site into the directory *place*."""
    repository = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["repository"]
    for path in (COLLECTION / "docs").glob("*.md"):
        (place / path.name).write_text(linked(path.read_text(), "docs", repository))
    for path in (COLLECTION / "docs").glob("*.svg"):
        shutil.copy(path, place)
    for name, page in PAGES.items():
        (place / f"{page}.md").write_text(linked((COLLECTION / name).read_text(), ".", repository))
    shutil.copy(COLLECTION / "CHANGELOG.rst", place / "changelog.rst")
    shutil.copytree(COLLECTION / "docs" / "docsite" / "_static", place / "_static")
    for name in ("conf.py", "index.md"):
        shutil.copy(COLLECTION / "docs" / "docsite" / name, place)
    generate = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    (place / "collections").mkdir()
    (place / "collections").chmod(0o755)
    run(*generate, "--dest-dir", str(place / "collections"), "tpmfleet.azure_dps")


def run(program: str, *arguments: str) -> None:
    """Runs one of the tools of this Python; what it says is shown where it fails."""
    # It calls Ansible's programs by their names.
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [TOOLS / program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{program} ended with {done.returncode}\n{done.stdout}")


def main() -> int:
    """0, or it ends with what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", metavar="OUTPUT", help="a directory, in which the pages are written")
    output = Path(parser.parse_args().output).absolute()
    with tempfile.TemporaryDirectory() as place:
        assemble(Path(place))
        run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", place, str(output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
