"""Files and texts of the user's, read strictly: what cannot be meant is refused in one line that
names the file and the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from modulewise.errors import InvalidInput

MERGE, TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


UNFIT = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
"""What PyYAML raises where a value is none of its tag's."""
LOOKS = re.compile(
    r"""(?P<word>yes|no|on|off)
    | (?P<octal>[-+]?0_*[0-9][0-9_]*)
    | (?P<sixty>[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)
    | (?P<date>[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?.*)""",
    re.VERBOSE | re.IGNORECASE,
)
"""Plain text that YAML 1.1 takes for something else than it looks like."""
TAKEN = {
    "word": ("a truth value", ", or say true or false"),
    "octal": ("a number in base 8", ", or a number without the first 0"),
    "sixty": ("a number in base 60", ""),
    "date": ("a date", ""),
}
"""Group of `LOOKS` -> what YAML takes it for, and what else may have been meant."""


class Mapping(dict[Any, Any]):
    """A mapping of a file.

    Attributes:
        written: key -> a number or truth value as it stands in the file; it matters where text was
            meant, such as `1.50`.
    """

    written: dict[Any, str]


class Sequence(list[Any]):
    """A list of a file.

    Attributes:
        written: index -> a number or truth value as it stands in the file.
    """

    written: dict[Any, str]


class _Strict(yaml.SafeLoader):
    """YAML without keys given twice, of which the last would win in silence, and without text that
    YAML 1.1 takes for a date, a truth value or a number in base 60 or 8."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; anchors and merge keys work as ever."""
        seen: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise InvalidInput(
                        f"line {line}: duplicate key {key.value!r} (first on line "
                        f"{seen[key.value]})"
                    )
                seen[key.value] = line
        return super().construct_mapping(node, deep)

    def map(self, node: yaml.MappingNode) -> Iterator[Mapping]:
        """A mapping, made before its content as anchors need it."""
        made = Mapping()
        yield made
        made.update(self.construct_mapping(node))
        made.written = {self.construct_object(k): v.value for k, v in node.value if _plain(v)}

    def seq(self, node: yaml.SequenceNode) -> Iterator[Sequence]:
        """A list, made before its content as anchors need it."""
        made = Sequence()
        yield made
        made.extend(self.construct_sequence(node))
        made.written = {i: v.value for i, v in enumerate(node.value) if _plain(v)}

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; plain text that is not what it looks like is refused."""
        if _plain(node) and (found := LOOKS.fullmatch(node.value)):
            taken, number = TAKEN[found.lastgroup or ""]
            raise InvalidInput(
                f"line {node.start_mark.line + 1}: YAML takes {node.value} for {taken}; write it "
                f"in quotes: '{node.value}'{number}"
            )
        try:
            return super().construct_object(node, deep)
        except InvalidInput:
            raise
        except UNFIT:
            tag = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"not a value of !!{tag}", node.start_mark
            ) from None


_Strict.add_constructor("tag:yaml.org,2002:map", _Strict.map)
_Strict.add_constructor("tag:yaml.org,2002:seq", _Strict.seq)


def _plain(node: yaml.Node) -> bool:
    """Whether a value is no text, list or mapping, and was written without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.tag != TEXT


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        InvalidInput: the file is missing, unreadable, no YAML, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: no valid YAML: not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # a path that no file can have
        raise InvalidInput(f"{path}: no valid YAML: {error}") from None
    if (content := read_value(text, str(path))) is None:
        raise InvalidInput(f"{path}: empty")
    return content


def read_value(text: str, where: str) -> Any:
    """Read YAML text; `None` of an empty one.

    Raises:
        InvalidInput: it is no YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, _Strict)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tab = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise InvalidInput(
            f"{where}: no valid YAML: {line}{error.problem or error.context}{tab}"
        ) from None
    except (ValueError, yaml.YAMLError) as error:  # characters that no file can have
        raise InvalidInput(f"{where}: no valid YAML: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{where}: no valid YAML: nested too deeply") from None


def read_json(text: str, where: str) -> Any:
    """Read JSON text.

    Raises:
        InvalidInput: it is no JSON, or gives a key twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i]))
            raise InvalidInput(f"duplicate key {twice!r}")
        return made

    try:
        return json.loads(text, object_pairs_hook=once)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    except ValueError as error:
        raise InvalidInput(f"{where}: no valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{where}: no valid JSON: nested too deeply") from None
