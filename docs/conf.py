"""How Sphinx builds the documentation: every page is executed, offline."""

import os
from importlib.metadata import version as version_of
from importlib.util import find_spec

os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "spikax"
author = "spikax developers"
copyright = "spikax developers"
version = release = version_of("spikax")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "jupyter_execute", "_templates"]
templates_path = ["_templates"]
nitpicky = False

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "spikax"
# Formulas are drawn without the network: MathJax comes from a package.
html_static_path = [
    "_static",
    f"{find_spec('sphinx-mathjax-offline').submodule_search_locations[0]}/static",
]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["spikax.css"]
html_sidebars = {"developers": [], "getting_started": [], "changelog": []}
html_theme_options = {
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
linkcheck_ignore = [r"https://doi\.org/.*", r"http://localhost.*"]


def is_of_others(app, what, name, member, skip, options):
    """Leave what is inherited from other libraries to their own pages."""
    ours = (getattr(member, "__module__", None) or "").startswith("spikax")
    return None if skip or ours or isinstance(member, property) else True


def setup(app):
    app.connect("autodoc-skip-member", is_of_others)
