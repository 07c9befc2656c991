# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx's settings for the documentation site, which scripts/build_site.py builds."""

project = "tpmfleet.azure_dps"
copyright = "tpmfleet contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
html_title = project
# Instead of the theme's links to Ansible's own pages.
html_theme_options = {
    "display_version": False,
    "topbar_links": {
        "Source": "https://github.com/tpmfleet/azure_dps",
        "Issues": "https://github.com/tpmfleet/azure_dps/issues",
    },
}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
highlight_language = "yaml+jinja"
pygments_style = "ansible"
# Headings of the guides are named as GitHub names them, so that a link works in both places.
myst_heading_anchors = 4
# What antsibull-docs links to in Ansible's documents is not here, as the site is built without a network. That links
# to plugins of ours lead somewhere is what antsibull-docs lint-collection-docs checks.
suppress_warnings = ["ref.ref", "ref.envvar"]
