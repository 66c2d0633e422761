"""Settings of the documentation; `nox -s docs` builds it."""

from enum import Enum
from importlib.metadata import version as installed_version
from typing import Any

project = "anyws"
author = "The anyws authors"
project_copyright = f"2026, {author}"
version = release = installed_version("anyws-structured")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_design"]
# The table is part of another page.
exclude_patterns = ["_build", "explanation/performance-table.rst"]
# A word in single backticks is code, in docstrings as in these pages.
default_role = "literal"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88


# Nobody but a function of the package makes these, so how they are made is its own affair.
made_within = {
    "anyws.ClientConnection",
    "anyws.CloseScope",
    "anyws.Connecting",
    "anyws.Connection",
    "anyws.Member",
    "anyws.ReceiveStream",
    "anyws.Reconnecting",
    "anyws.SendStream",
    "anyws.Server",
    "anyws.ServerConnection",
    "anyws.Serving",
    "anyws.testing.ConnectionPair",
    "anyws.testing.HandlerRun",
    "anyws.testing.MemoryStream",
}


def leave_out_signature(
    app: object, what: str, name: str, obj: object, *_: object
) -> tuple[str, None] | None:
    """Show how a class is made only if it is for anybody to make."""
    is_enum = isinstance(obj, type) and issubclass(obj, Enum)
    return ("", None) if name in made_within or is_enum else None


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", leave_out_signature)


napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"anyws {release}"
