# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For plays of tests: what one knows is left in a file without a module, which would cost as much as what is tried."""

from __future__ import annotations

from pathlib import Path


def kept(text, path):
    """Writes *text*, and returns where."""
    Path(path).write_text(text)
    return path


class FilterModule:
    """Tells Ansible of it."""

    def filters(self):
        return {"kept": kept}
