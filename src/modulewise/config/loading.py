"""Files and texts of the user's, read strictly: what cannot be meant is refused in one line that
names the file and the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from modulewise.errors import InvalidInput

MERGE = "tag:yaml.org,2002:merge"


class _Strict(yaml.SafeLoader):
    """YAML without keys given twice, of which the last would win in silence."""

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


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        InvalidInput: the file is missing, unreadable, no YAML, or gives a key twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tab = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise InvalidInput(
            f"{path}: no valid YAML: {line}{error.problem or error.context}{tab}"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: no valid YAML: not UTF-8 text (byte {error.start})") from None
    except (
        ValueError,
        OverflowError,
        yaml.YAMLError,
    ) as error:  # YAML's own dates and numbers, and paths no file can have
        raise InvalidInput(f"{path}: no valid YAML: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{path}: no valid YAML: nested too deeply") from None
    if content is None:
        raise InvalidInput(f"{path}: empty")
    return content


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
