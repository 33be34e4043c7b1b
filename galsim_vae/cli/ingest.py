"""``galsim-vae ingest``: a training file from survey data."""

import logging
from collections import Counter
from pathlib import Path

from galsim_vae.files import output_folder
from galsim_vae.frame.frames import find_frame
from galsim_vae.train.ingest.config import IngestConfig
from galsim_vae.train.ingest.report import write_report
from galsim_vae.train.ingest.run import ingest
from galsim_vae.train.ingest.same import read_pairs

from .call import Call

__all__ = ["Keys", "run"]

Keys = IngestConfig

logger = logging.getLogger(__name__)


def run(call: Call) -> None:
    """Ingest what a configuration file lists, and write the report."""
    config = IngestConfig.from_dict(call.load("configuration file, such as weights/real.yaml"))
    readers = config.readers()
    folder = config.report or Path(f"{config.output.with_suffix('')}_report")
    output_folder(config.output.parent)
    same = None if config.same is None else read_pairs(config.same)
    canonical_frame = find_frame(config.frame)
    counts = ingest(
        readers, config.output, config.seed, config.recipe(), same, canonical_frame
    )
    sources = Counter(name for name, _ in counts.elements())
    for name, count in sources.items():
        logger.info("%s: %d of %d", name, counts[name, ""], count)
    taken = sum(count for (_, reason), count in counts.items() if not reason)
    print(f"{config.output}: {taken} galaxies")
    call.wrote(config.output, write_report(config.output, folder))
