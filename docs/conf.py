"""The documentation site: `make docs` builds it with Sphinx; warnings are errors.

The source folder is the whole repository, so that pages stay where they are and their links to one
another hold on the site as in the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs")]

project = "modulewise"
author = "The modulewise developers"
project_copyright = author
extensions = ["myst_parser", "generator.extension"]

root_doc = "docs/index"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "config/README.md",
    "docs/**.md",
    "results/bench/*/table.md",
    "results/published/*/README.md",
]
include_patterns = PAGES
exclude_patterns = [
    *(p.name for p in ROOT.iterdir() if p.name not in {page.split("/")[0] for page in PAGES}),
    *(
        f"results/{p.name}"
        for p in (ROOT / "results").iterdir()
        if p.name not in ("bench", "published")
    ),
]

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence"]

html_theme = "furo"
html_title = "modulewise"
html_static_path = ["generator/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False}
