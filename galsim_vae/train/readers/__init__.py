"""Readers of observed galaxies: stamps, segments, COSMOS, survey mosaics."""

from .cosmos import CosmosReader
from .mosaic import MosaicReader
from .segments import SegmentReader
from .source import Reader, Source
from .stamps import StampReader

__all__ = ["CosmosReader", "MosaicReader", "Reader", "SegmentReader", "Source", "StampReader"]
