"""Says where a configuration file is broken. Snakemake names neither file nor line, and reads
`--configfile` before any code of a workflow runs; what it refuses anyway is refused here, in one
line."""

import json
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import yaml

OPTIONS = ("--configfile", "--configfiles")


def check(words: Sequence[str]) -> None:
    """End the program if it is Snakemake, and a configuration file of its command line cannot be
    read.

    Args:
        words: of the command line, as in `sys.argv`.
    """
    program = Path(words[0]) if words else Path()
    if program.name != "snakemake" and program.parts[-2:] != ("snakemake", "__main__.py"):
        return
    for file in named(words):
        if wrong := fault(file):
            sys.exit(f"error: {file}: {wrong}")


def named(words: Sequence[str]) -> list[Path]:
    """Configuration files of a command line.

    Example:
        >>> [str(file) for file in named(["snakemake", "--configfile", "a", "b", "-n", "c"])]
        ['a', 'b']
    """
    files: list[str] = []
    for n, word in enumerate(words):
        option, given, value = word.partition("=")
        if option in OPTIONS:
            after = takewhile(lambda w: not w.startswith("-"), words[n + 1 :])
            files += [value] if given else after
    return [Path(file) for file in files]


def fault(file: Path) -> str | None:
    """Why Snakemake cannot read a file; `None` if it can."""
    try:
        content = _read(file.read_text(encoding="utf-8"))
    except OSError as error:
        return error.strerror
    except UnicodeDecodeError as error:
        return f"no valid YAML: not UTF-8 text (byte {error.start})"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tab = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        return f"no valid YAML: {line}{error.problem or error.context}{tab}"
    except (ValueError, yaml.YAMLError) as error:
        return f"no valid YAML: {' '.join(str(error).split())}"
    except RecursionError:
        return "no valid YAML: nested too deeply"
    if content is None:
        return "empty"
    return None if isinstance(content, dict) else "input should be a mapping of keys to values"


class _Marking(yaml.FullLoader):
    """Snakemake's reader of YAML, which says where a value is that does not fit its tag."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """A value."""
        try:
            return super().construct_object(node, deep)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            tag = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"not a value of !!{tag}", node.start_mark
            ) from None


def _read(text: str) -> object:
    """JSON, else YAML, as Snakemake reads it."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.load(text, _Marking)
