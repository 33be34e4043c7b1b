"""Galaxies with structure for descwl-shear-sims, in the place of its own galaxy catalogues::

    from descwl_shear_sims.sim import make_sim
    catalog = VAEGalaxyCatalog(
        rng=rng, generator=generator, layout="random", coadd_dim=400, buff=50, density=40)
    make_sim(rng=rng, galaxy_catalog=catalog, coadd_dim=400, g1=0.02, g2=0.0, psf=psf)

descwl-shear-sims needs the Rubin science pipelines and is not on PyPI:
https://github.com/LSSTDESC/descwl-shear-sims. It is imported only where a layout is given by name.
"""

from __future__ import annotations

from typing import Any

import galsim
import numpy as np
from astropy.table import QTable

from .filters.names import find_filter
from .generator import GalaxyGenerator

__all__ = ["VAEGalaxyCatalog"]

# Names of Roman filters: those of GalSim (H158) are F158 in surveycodex.
_ROMAN = "Roman_WFI_Deep"


class VAEGalaxyCatalog:
    """A galaxy catalogue as `descwl_shear_sims.sim.make_sim` wants it.

    Parameters
    ----------
    rng : numpy.random.RandomState
        Of positions, and of the seed of the galaxies: everything is settled here, and each band and
        each call sees the same galaxies.
    generator : GalaxyGenerator
    layout : descwl_shear_sims.layout.Layout or str
        Where galaxies are: "grid", "hex", "random", "random_disk", "pair".
    table : QTable, optional
        Conditions of galaxies, as for `galsim_vae.GalaxyGenerator.sample`, taken in turn; from the
        population without it.
    density : float, optional
        Galaxies per square arcmin in random layouts; None for descwl-shear-sims' own.
    coadd_dim, buff, pixel_scale, sep, simple_coadd_bbox
        As in `descwl_shear_sims.galaxies.FixedGalaxyCatalog`; the layout's if it is an object.
    gal_type : str
        What `descwl_shear_sims.surveys.get_survey` is asked for: "varying" has images with the
        zero-point 30 and noise 1.

    Attributes
    ----------
    shifts_array : (n,) array with fields dx and dy, arcsec
    table : QTable
        Conditions of the n galaxies.

    Raises
    ------
    ModuleNotFoundError
        A layout by its name without descwl-shear-sims.
    galsim.GalSimRangeError, galsim.GalSimError
        As `galsim_vae.GalaxyGenerator.sample`.
    """

    def __init__(
        self,
        *,
        rng: np.random.RandomState,
        generator: GalaxyGenerator,
        layout: Any = "random",
        table: QTable | None = None,
        density: float | None = None,
        coadd_dim: int | None = None,
        buff: float = 0,
        pixel_scale: float = 0.2,
        sep: float | None = None,
        simple_coadd_bbox: bool = False,
        gal_type: str = "varying",
    ):
        self.gal_type = gal_type
        if isinstance(layout, str):
            layout = _layout_class()(
                layout, coadd_dim, buff, pixel_scale, simple_coadd_bbox=simple_coadd_bbox
            )
        self.layout = layout
        given = {} if density is None else {"density": density}
        self.shifts_array = layout.get_shifts(rng=rng, sep=sep, **given)
        deviate = galsim.BaseDeviate(int(rng.randint(1, 2**31 - 1)))
        n = len(self.shifts_array)
        if table is None:
            self.table = generator.sample_conditions(n, deviate)
        else:
            self.table = QTable(table, copy=True)[np.arange(n) % len(table)]
            # Galaxies of the same conditions are not the same galaxy.
            self.table["id"] = np.arange(n)
        self._stamps = generator.sample(self.table, deviate)

    def __len__(self) -> int:
        return len(self.shifts_array)

    def get_objlist(self, *, survey: Any) -> dict[str, list]:
        """Return the galaxies as one band of a survey sees them.

        Parameters
        ----------
        survey : descwl_shear_sims.surveys.BasicSurvey or WLDeblendSurvey
            Has ``filter_band`` and ``get_flux(magnitude)``.

        Returns
        -------
        dict
            ``objlist`` galsim.GSObject, ``shifts`` galsim.PositionD [arcsec], ``redshifts``, and
            ``indexes`` rows of `table`; lists of one length.

        Raises
        ------
        galsim.GalSimRangeError
            A filter that the HST bands do not reach.
        galsim.GalSimValueError
            An unknown filter.
        """
        band = _find_band(survey)
        magnitudes = self._stamps.magnitude(band)
        objects, shifts = [], []
        for i, (magnitude, place) in enumerate(zip(magnitudes, self.shifts_array, strict=True)):
            # The zero-point with which this magnitude has the survey's flux.
            zeropoint = magnitude + 2.5 * np.log10(survey.get_flux(magnitude))
            objects.append(self._stamps.galaxy(i, band, zeropoint))
            shifts.append(galsim.PositionD(float(place["dx"]), float(place["dy"])))
        return {
            "objlist": objects,
            "shifts": shifts,
            "redshifts": [float(galaxy.redshift) for galaxy in objects],
            "indexes": list(range(len(self))),
        }


def _find_band(survey: Any) -> str | galsim.Bandpass:
    """The filter of a survey of descwl-shear-sims: LSST's where it does not say whose."""
    inner = getattr(survey, "descwl_survey", survey)
    name = str(getattr(inner, "survey_name", getattr(survey, "name", "LSST")))
    band = str(survey.filter_band)
    if name.lower() == "roman":
        return find_filter(_ROMAN, f"F{band[1:]}")
    names = {"lsst": "LSST", "hsc": "HSC", "des": "DES", "cfht": "CFHTLS", "euclid": "Euclid_VIS"}
    known = names.get(name.lower(), "LSST")
    return find_filter(known, "IE" if known == "Euclid_VIS" else band)


def _layout_class() -> Any:
    try:
        from descwl_shear_sims.layout import Layout  # type: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "A layout by its name needs descwl-shear-sims, which is not installed and not on PyPI: "
            "see https://github.com/LSSTDESC/descwl-shear-sims, or give a Layout"
        ) from error
    return Layout
