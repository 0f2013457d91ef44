"""YAML that people write: read without surprises."""

from __future__ import annotations

from typing import Any, cast

import yaml

_SHOWN = 40


class Twice(yaml.constructor.ConstructorError):
    """A mapping has a key twice."""


class SafeLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML's own loader takes the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        # Here, where it is as it was written: what is merged into it (`<<`) may say the same, and counts less.
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                value = cast("Any", self).construct_object(key)  # `yes` and `true` are one name
                if value in seen:
                    problem = f"{key.value[:_SHOWN]!r} is there twice"
                    raise Twice(None, None, problem, key.start_mark)
                seen.add(value)
        return node


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
    except Twice as error:
        raise ValueError(_placed(error, str(error.problem))) from None
    except yaml.constructor.ConstructorError as error:
        raise ValueError(_placed(error, "a value cannot be read")) from None
    except yaml.YAMLError as error:
        raise ValueError(_placed(error, "this is not YAML")) from None
    except (ValueError, TypeError) as error:  # the 31st of February; a key that is a list
        raise ValueError(f"a value cannot be read: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _placed(error: yaml.YAMLError, what: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return what if mark is None else f"line {mark.line + 1}: {what}"
