"""URLs with secrets in them, and how they are shown to people."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(?<=://)([^/@:?#]*):([^@/?#]*(?:@[^@/?#]*)*)(?=@)")
_PARAMETER = re.compile(r"(?i)([?&;](?:password|passwd|pwd|token|secret|api_?key|sslpassword)=)[^&;#]*")


def masked(url: str) -> str:
    """`url` without its passwords.

    >>> masked("postgresql://ann:s3cret@db/shop?sslmode=require&password=x")
    'postgresql://ann:***@db/shop?sslmode=require&password=***'
    >>> masked("sqlite:///shop.db")
    'sqlite:///shop.db'
    """
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***", url))


def secrets_of(url: str) -> list[str]:
    """The passwords in `url`, as they stand there.

    >>> secrets_of("postgresql://ann:s3cret@db/shop?password=x")
    ['s3cret', 'x']
    """
    parameters = [match[0].split("=", 1)[1] for match in _PARAMETER.finditer(url)]
    return [*(match[2] for match in _PASSWORD.finditer(url)), *parameters]
