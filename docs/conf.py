"""Settings of the documentation site; ``make docs`` builds it."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "widgets")]

from deploykit._version import __version__  # noqa: E402  the repository must be on the path

project = "deploykit"
author = "The deploykit developers"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docs.tools.pages"]
exclude_patterns = ["_build", "reference/generated", "**/.*"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The notebooks are executed before (docs/tools/notebooks.py). Nothing of their output needs a script.
# Markdown that a cell gives has tables, as pages do.
nb_render_markdown_format = "myst"
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "image/svg+xml", 5), ("html", "image/png", 6), ("html", "text/html", 7)]

# A name in single backticks is a name of this site, or the build fails.
default_role = "any"
nitpicky = True
# Two hyphens begin an option of the command line: they stay two.
smartquotes = False
nitpick_ignore_regex = [(r"py:.*", r".*")]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True

html_theme = "pydata_sphinx_theme"
html_title = "deploykit"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_domain_indices = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "deploykit"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "collapse_navigation": True,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
copyright = "The deploykit developers. BSD 3-Clause license"  # noqa: A001  the name is Sphinx's
