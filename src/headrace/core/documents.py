"""YAML that people write: read without surprises."""

from __future__ import annotations

from typing import Any

import yaml

_SHOWN = 40


class SafeLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML's own loader takes the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"{key.value[:_SHOWN]!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The value of a YAML text; None for an empty one.

    Raises
    ------
    ValueError
        It is no YAML, or says something twice: what, and in which line. No value is told: it may be a secret.

    Examples
    --------
    >>> read_yaml("rpm: 60")
    {'rpm': 60}
    >>> read_yaml("rpm: 60\\nrpm: 6")
    Traceback (most recent call last):
    ...
    ValueError: line 2: 'rpm' is there twice
    >>> read_yaml("rpm: [60")
    Traceback (most recent call last):
    ...
    ValueError: line 1: this is not YAML
    """
    try:
        return yaml.load(text, Loader=SafeLoader)
    except yaml.constructor.ConstructorError as error:
        twice = str(error.problem).endswith("is there twice")
        raise ValueError(_placed(error, str(error.problem) if twice else "a value cannot be read")) from None
    except yaml.YAMLError as error:
        raise ValueError(_placed(error, "this is not YAML")) from None
    except (ValueError, TypeError) as error:  # the 31st of February; a key that is a list
        raise ValueError(f"a value cannot be read: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _placed(error: yaml.YAMLError, what: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return what if mark is None else f"line {mark.line + 1}: {what}"
