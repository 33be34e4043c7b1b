"""Readers of observed galaxies: folders of stamps, segmented tiles, COSMOS, survey mosaics."""

from .cosmos import CosmosReader
from .mosaic import MosaicReader
from .source import Reader, Source
from .stamps import SegmentReader, StampReader

__all__ = ["CosmosReader", "MosaicReader", "Reader", "SegmentReader", "Source", "StampReader"]
