"""How Sphinx makes the site: `make docs`. Nothing is downloaded, neither here nor by who reads it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from commands import as_markdown

from rnncore.version import __version__

project = "rnncore"
author = "The rnncore developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# html_image: a picture of a given width, as a plain view of the repository has it.
myst_enable_extensions = ["deflist", "html_image"]
# Links to a section, as a plain view of the repository has them.
myst_heading_anchors = 3

# In a docstring, `x` is code, and quotes are those of Python.
default_role = "code"
smartquotes_action = "De"
highlight_language = "text"
# PyTorch and JAX are not installed where the site is made; the module registers functions with a JAX that is.
autodoc_mock_imports = ["torch", "jax", "rnncore.jax.primitives"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# The name instead of what it stands for, numpy.ndarray with two parameters.
autodoc_type_aliases = {"Array": "Array", "DTypeLike": "DTypeLike"}
autodoc_default_options = {"exclude-members": "__init__, __new__"}
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_numpy_docstring = False
# References to Python's and NumPy's own documentation would need the network; all of ours must lead somewhere.
nitpick_ignore_regex = [("py:.*", r"(?!rnncore).*")]

html_theme = "furo"
# The default underlines modules as if they were links.
pygments_dark_style = "github-dark"
html_title = f"rnncore {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False

PLACE = "<!-- Here the site has every option, from `rnncore COMMAND --help`. -->"


def setup(app: Any) -> None:
    """Let the page of the command line say what the parser says, and signatures what the source says."""
    app.connect("source-read", _fill)
    app.connect("autodoc-process-signature", _plain)


def _fill(app: Any, page: str, source: list[str]) -> None:
    if page == "command_line":
        if PLACE not in source[0]:
            raise ValueError(f"command_line.md: expected the line {PLACE}")
        source[0] = source[0].replace(PLACE, as_markdown())


def _plain(app: Any, what: str, name: str, documented: Any, options: Any, signature: str, returned: str) -> Any:
    """The name of an alias inside another type, which Sphinx prints as the object that stands for it."""
    return tuple(text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned))
