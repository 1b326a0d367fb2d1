"""The documentation site builds without a warning, leads nowhere that is not there, and needs no
network to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from modulewise.config.resolve import Catalog

pytestmark = pytest.mark.site
ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Anchors of a page, what it links to, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if "src" in found or (tag == "link" and found.get("rel") == "stylesheet"):
            self.loaded.append(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    words = ["-q", "-W", "--keep-going", "-c", "docs", "-d", str(out / "doctrees"), "."]
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(out / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert made.returncode == 0 and not made.stderr, made.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All its pages."""
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def local(pages: dict[Path, Page]) -> Iterator[tuple[Path, str, Path, str]]:
    """Page, link, the file it means, the anchor in it."""
    for page, found in pages.items():
        for link in [*found.links, *found.loaded]:
            parts = urlsplit(link)
            if not parts.scheme and link != "#":
                there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                yield page, link, there, unquote(parts.fragment)


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    links = list(local(pages))
    assert len(links) > 1000
    for page, link, there, anchor in links:
        assert there.is_file(), f"{page.relative_to(site)}: {link}: no such file"
        if there.suffix == ".html" and there in pages:
            assert anchor in pages[there].anchors, f"{page.relative_to(site)}: {link}: no such part"


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    outside = [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc]
    assert not outside


def test_the_first_page_leads_to_all_others(site: Path, pages: dict[Path, Page]) -> None:
    first = site / "docs/index.html"
    assert "docs/index.html" in (site / "index.html").read_text()
    reached, waiting = set(), [first]
    while waiting:
        page = waiting.pop()
        if page not in reached and page in pages:
            reached.add(page)
            waiting += [
                (page.parent / unquote(urlsplit(x).path)).resolve()
                for x in pages[page].links
                if not urlsplit(x).scheme and urlsplit(x).path
            ]
    beside = {site / name for name in ("index.html", "genindex.html", "search.html")}
    assert set(pages) - reached <= beside


@pytest.mark.usefixtures("site")
def test_every_method_has_a_card_and_its_command_trains_it(catalog: Catalog) -> None:
    methods = {p.stem for p in (ROOT / "src/modulewise/methods").glob("[a-z]*.py")}
    pages = {p.stem: p.read_text() for p in (ROOT / "docs/methods").glob("*.md")}
    assert set(pages) == methods | {"index", "values"}
    for method in methods:
        (words,) = re.findall(r"^modulewise train (.*)$", pages[method], re.MULTILINE)
        said = dict(zip(*[iter(words.split())] * 2, strict=True))
        places = (said[f"--{name}"] for name in ("dataset", "network", "recipe"))
        cell = catalog.cell(*places, int(said["--modules"]), int(said["--seed"]))
        assert cell.method == method
        assert f"]({method}.md)" in pages["index"]
