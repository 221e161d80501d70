"""What is taken of each stream in one round."""

from __future__ import annotations

from dataclasses import dataclass

from lakecat.config import StreamJob
from lakecat.connector import Slice


@dataclass(frozen=True, slots=True)
class Part:
    """What a round takes of one stream."""

    stream: StreamJob
    slice: Slice
