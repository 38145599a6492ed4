"""The configuration of Sphinx: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "batch_cancel"
author = "The batch_cancel authors"
copyright = "The batch_cancel authors"  # noqa: A001  # Sphinx looks for this name.
[release] = re.findall(
    r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
)
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "documentation.site",
]
nitpicky = True
# Types of drivers and frameworks, which have their documentation elsewhere, and private names.
nitpick_ignore_regex = [("py:.*", ".*")]

# Headings get the anchors that code hosts give them, so that a link works in both places.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block", "attrs_inline"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
default_role = "code"

html_theme = "furo"
html_title = "batch_cancel"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
