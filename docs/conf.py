"""Configuration of the documentation site: ``make docs``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(ROOT)]

import qkan

project = "qkan-toolkit"
author = "The qkan-toolkit developers"
copyright = f"2026, {author}"
release = version = qkan.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "mathml", "api_pages", "generated_pages"]
exclude_patterns = ["_ext"]
templates_path: list[str] = []
html_theme = "furo"
html_title = "qkan-toolkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False

# The committed notebooks are shown as they are; `make tutorials` runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "params_style")]

# A reference to a public name of the package must lead somewhere; other packages and private names have no pages here.
nitpicky = True
nitpick_ignore_regex = [(r".*", r"(?!qkan\.).*|.*\._.*")]
