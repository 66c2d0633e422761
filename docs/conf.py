"""Settings of the documentation; `nox -s docs` builds it."""

from importlib.metadata import version as installed_version

project = "anyws"
author = "The anyws authors"
project_copyright = f"2026, {author}"
version = release = installed_version("anyws-structured")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# A word in single backticks is code, in docstrings as in these pages.
default_role = "literal"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"anyws {release}"
