"""How the package's modules stand on one another: `python tools/imports.py [CHECKOUT]`.

Modules, folders of modules, imports, modules in the longest chain of imports, circles, and imports
that run upward against the layers of `pyproject.toml`. Imports under `TYPE_CHECKING` count.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

import grimp
import networkx as nx
from rich.console import Console
from rich.table import Table

PACKAGE = "modulewise"


def imports(checkout: Path) -> nx.DiGraph:
    """The modules of the package in `checkout/src`; an edge goes from importer to imported."""
    sys.path.insert(0, str(checkout / "src"))
    found = grimp.build_graph(PACKAGE, cache_dir=None)
    graph = nx.DiGraph()
    graph.add_nodes_from(found.modules)
    for module in found.modules:
        graph.add_edges_from(
            (module, other) for other in found.find_modules_directly_imported_by(module)
        )
    return graph


def layers(checkout: Path) -> list[set[str]] | None:
    """Folders and top-level modules by layer, the highest first; `None` where none are declared."""
    tools = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]
    for contract in tools.get("importlinter", {}).get("contracts", []):
        if contract["type"] == "layers":
            return [{name.strip(" ()") for name in x.split("|")} for x in contract["layers"]]
    return None


def folders(graph: nx.DiGraph) -> set[str]:
    """Names of the folders of modules directly below the package."""
    return {m.split(".")[1] for m in graph if m.count(".") > 1}


def circles(graph: nx.DiGraph) -> list[set[str]]:
    """Groups of modules that import one another, directly or through others."""
    return [found for found in nx.strongly_connected_components(graph) if len(found) > 1]


def chain(graph: nx.DiGraph) -> int:
    """Number of modules in the longest chain of imports; a circle counts as one."""
    return nx.dag_longest_path_length(nx.condensation(graph)) + 1


def upward(graph: nx.DiGraph, declared: list[set[str]]) -> list[tuple[str, str]]:
    """Imports of a module that stands in a higher layer than the importer."""
    height = {name: -n for n, layer in enumerate(declared) for name in layer}

    def at(module: str) -> int | None:
        return height.get(module.split(".")[1]) if "." in module else None

    return [(a, b) for a, b in graph.edges if None not in (x := at(a), y := at(b)) and x < y]


def main() -> None:
    """Print the table, and below it the circles and the imports that run upward."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    checkout = parser.parse_args().checkout
    graph, declared = imports(checkout), layers(checkout)
    against = upward(graph, declared) if declared else []
    table = Table(box=None)
    numbers = {
        "modules": len(graph),
        "folders": len(folders(graph)),
        "imports": graph.number_of_edges(),
        "chain": chain(graph),
        "circles": len(circles(graph)),
        "upward": len(against) if declared else "no layers",
    }
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_row(*map(str, numbers.values()))
    console = Console(highlight=False)
    console.print(table)
    for found in circles(graph):
        console.print("circle:", ", ".join(sorted(found)), soft_wrap=True)
    for importer, imported in sorted(against):
        console.print("upward:", importer, "->", imported, soft_wrap=True)


if __name__ == "__main__":
    main()
