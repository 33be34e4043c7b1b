"""An object of a copy of the config, read as GalSim reads it up to where it would draw.

Whoever wants to know what the object asks for ends the reading by an exception of its own.
"""

from __future__ import annotations

from typing import Any

import galsim.config
from galsim.config.gsobject import UpdateGSParams
from galsim.config.stamp import stamp_ignore, valid_stamp_types

__all__ = ["rehearse", "set_object"]


def set_object(base: dict, number: int) -> Any:
    """Set up the number and the deviates of an object; return the builder of its stamp."""
    galsim.config.SetupConfigObjNum(base, number)
    builder = valid_stamp_types[base["stamp"]["type"]]
    builder.setupRNG(base["stamp"], base, galsim.config.LoggerWrapper(None))
    return builder


def rehearse(base: dict, number: int) -> None:
    """Do what `galsim.config.BuildStamp` does before it draws, in its order.

    Parameters
    ----------
    base : dict
        From `galsim_vae.config.copies.copy_config`: it is changed.
    number : int
        Of the object.
    """
    galsim.config.SetupConfigObjNum(base, number)
    stamp, logger = base["stamp"], galsim.config.LoggerWrapper(None)
    builder = valid_stamp_types[stamp["type"]]
    if builder.quickSkip(stamp, base):
        return
    builder.setupRNG(stamp, base, logger)
    sizes = base.get("stamp_xsize", 0), base.get("stamp_ysize", 0)
    where = builder.setup(stamp, base, *sizes, stamp_ignore, logger)
    builder.locateStamp(stamp, base, *where, logger)
    gsparams = UpdateGSParams({}, stamp["gsparams"], base) if "gsparams" in stamp else {}
    if builder.getSkip(stamp, base, logger):
        return
    psf = builder.buildPSF(stamp, base, gsparams, logger)
    builder.buildProfile(stamp, base, psf, gsparams, logger)
