# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that come to what they come to once, and not for each template that names them.

Since ansible-core 2.19 what a variable of a variable comes to is made for each template anew, and a step's options name
the same few dozens over and over. It is kept by a dictionary, which Ansible throws away with each template; earlier
releases have none. Only templates get that dictionary: some lookups copy what they are given, and it cannot be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .compiled_once import engine_of

try:
    from ansible._internal._templating._engine import TemplateOptions
    from ansible._internal._templating._lazy_containers import _AnsibleLazyTemplateMixin
    from ansible._internal._templating._utils import TemplateContext
except ImportError:
    TemplateContext = None  # type: ignore[assignment, misc]


def remember(templar: Any, variables: Mapping[str, Any]) -> None:
    """Has *templar* keep what *variables* come to, which are all that it has."""
    if TemplateContext is None:
        return
    engine = engine_of(templar)
    with TemplateContext(template_value=variables, templar=engine, options=TemplateOptions.DEFAULT):
        kept = _AnsibleLazyTemplateMixin._try_create(variables)
    compile_template = engine._compile_template

    def compiled(text: str, options: Any) -> Callable[[Any], Any]:
        made = compile_template(text, options)
        return lambda given: made(kept if given is variables else given)

    engine._compile_template = compiled
