"""`/v1/embeddings`: the same vector for the same text, nearer ones for texts that share words; they mean no more."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from functools import lru_cache
from typing import Any, cast

from headrace.mockllm.api import encode, get_model
from headrace.mockllm.ask import BadAsk, get_count
from headrace.mockllm.tokens import count

_WORD = re.compile(r"\w+")
_MOST_INPUTS = 2048


def answer_embeddings(body: dict[str, Any], dimensions: int) -> tuple[bytes, int]:
    """The answer to a request, and the tokens of its input.

    Raises
    ------
    BadAsk
        The input is neither a text, nor tokens, nor a list of either.
    """
    model = get_model(body)
    size = get_count(body, "dimensions") or dimensions
    texts = _inputs(body.get("input"))
    tokens = sum(count(text) for text in texts)
    as_text = body.get("encoding_format") == "base64"
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = embed(text, size)
        packed: Any = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if as_text else vector
        data.append({"object": "embedding", "index": index, "embedding": packed})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": model, "usage": usage}), tokens


def _inputs(given: Any) -> list[str]:
    items = cast("list[Any]", given) if isinstance(given, list) else [given]
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    texts: list[str] = []
    for item in items:
        if isinstance(item, list):
            item = " ".join(str(token) for token in cast("list[Any]", item))
        if not isinstance(item, str) or not item:
            raise BadAsk("'$.input' is invalid.", param="input")
        texts.append(item)
    if not texts or len(texts) > _MOST_INPUTS:
        raise BadAsk(f"'input' must have 1 to {_MOST_INPUTS} entries.", param="input")
    return texts


@lru_cache(maxsize=1024)
def embed(text: str, size: int) -> list[float]:
    """A vector of length 1: each word adds 1 or -1 at four places that its checksum gives (feature hashing).

    >>> near, far = ("a bowl of soup", "a bowl of rice"), ("a bowl of soup", "trains run late")
    >>> cosine = lambda pair: sum(a * b for a, b in zip(embed(pair[0], 256), embed(pair[1], 256)))
    >>> cosine(near) > cosine(far)
    True
    """
    vector = [0.0] * size
    for word in _WORD.findall(text.lower()) or [text]:
        mark = zlib.crc32(word.encode())
        for turn in range(4):
            mark = zlib.crc32(b"%d" % turn, mark)
            vector[mark % size] += 1.0 if mark & 0x8000_0000 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0] = length = 1.0
    return [value / length for value in vector]
