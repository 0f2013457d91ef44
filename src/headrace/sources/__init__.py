"""Where the data comes from: declared sources, each with its own page in the how-to."""

from headrace.sources.base import Opening, Partition, Source
from headrace.sources.files import Files
from headrace.sources.generator import Generator
from headrace.sources.poll import Poll
from headrace.sources.postgres import Postgres
from headrace.sources.push import Push

__all__ = ["Files", "Generator", "Opening", "Partition", "Poll", "Postgres", "Push", "Source"]
