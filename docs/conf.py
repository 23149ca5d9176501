"""The documentation's site: `sphinx-build -W --keep-going -n -j auto docs SITE` makes it, offline.

Its tutorials are executed when it is built. Readers need no network: MathJax, which sets the
equations, is part of the site.
"""

import os
import sys
import tomllib
from importlib import resources
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

project = "langevin_nn"
author = "langevin_nn contributors"
copyright = author
version = release = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"][
    "version"
]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "pages",
    "reference",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]
nitpicky = True
# The types in signatures are other libraries': their pages are not asked for when this is built.
nitpick_ignore_regex = [("py:.*", ".*")]
highlight_language = "none"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 300  # seconds a cell
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
os.environ.setdefault("TQDM_DISABLE", "1")

autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
autodoc_preserve_defaults = True
autosummary_generate = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "langevin_nn"
# The package is used for its files: as an extension it would forbid to build in parallel.
html_static_path = ["_static", str(resources.files("sphinx-mathjax-offline") / "static")]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": []}
