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
from galsim.errors import GalSimValueError, galsim_warn

from .conditions import as_columns
from .filters import find_band
from .filters.bandpass import warned_already
from .generator import GalaxyGenerator

__all__ = ["VAEGalaxyCatalog"]


class VAEGalaxyCatalog:
    """A galaxy catalogue as `descwl_shear_sims.sim.make_sim` wants it.

    Parameters
    ----------
    rng : numpy.random.RandomState
        Of positions, and of the seed of the galaxies: everything is settled here, and each band and
        each call sees the same galaxies.
    generator : GalaxyGenerator
        It draws the galaxies.
    layout : descwl_shear_sims.layout.Layout or str
        Where galaxies are: "grid", "hex", "random", "random_disk", "pair".
    table : QTable or other table, optional
        Conditions of galaxies, as for `galsim_vae.GalaxyGenerator.sample`, taken in turn; from the
        population without it.
    density : float, optional
        Galaxies per square arcmin in random layouts; None for descwl-shear-sims' own.
    coadd_dim : int, optional
        As in `descwl_shear_sims.galaxies.FixedGalaxyCatalog`, as are the next four; those of the
        layout if it is an object.
    buff : int, optional
        Space around the galaxies, pixels.
    pixel_scale : float, optional
        Of the coadd, arcsec.
    sep : float, optional
        Of a pair, arcsec.
    simple_coadd_bbox : bool, optional
        As there.
    gal_type : str
        What `descwl_shear_sims.surveys.get_survey` is asked for. "varying" has images with the
        zero-point 30 and noise 1, of a survey that does not say whose it is; "wldeblend" has the
        zero-point and noise of the ``survey_name`` of ``make_sim``, and needs the package descwl
        (WeakLensingDeblending).
    survey_name : str, optional
        Whose filters a survey that does not say has. By default LSST's, with a warning.
    extrapolate : bool, optional
        Take u filters, with a warning; by default what the generator was made with.

    Attributes
    ----------
    shifts_array : ndarray (n,)
        Fields dx and dy, arcsec.
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
        survey_name: str | None = None,
        extrapolate: bool | None = None,
    ):
        self.gal_type = gal_type
        self._survey_name = survey_name
        self._extrapolate = generator.extrapolate if extrapolate is None else extrapolate
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
            given = QTable(as_columns(table))
            self.table = given[np.arange(n) % len(given)]
            # Galaxies of the same conditions are not the same galaxy.
            self.table["id"] = np.arange(n)
        self._stamps = generator.sample(self.table, deviate, extrapolate=self._extrapolate)

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
            An unknown survey, or a filter that it has not: the message says which ``gal_type``
            makes the survey say whose it is.
        """
        band = self._find_band(survey)
        magnitudes = self._stamps.magnitude(band, self._extrapolate)
        # The zero-points with which these magnitudes have the survey's fluxes.
        zeropoints = [m + 2.5 * np.log10(survey.get_flux(m)) for m in magnitudes]
        with warned_already():
            objects = [
                self._stamps.galaxy(i, band, zeropoint, extrapolate=self._extrapolate)
                for i, zeropoint in enumerate(zeropoints)
            ]
        return {
            "objlist": objects,
            "shifts": [galsim.PositionD(float(p["dx"]), float(p["dy"])) for p in self.shifts_array],
            "redshifts": [float(galaxy.redshift) for galaxy in objects],
            "indexes": list(range(len(self))),
        }

    def _find_band(self, survey: Any) -> str | galsim.Bandpass:
        """The filter of a survey of descwl-shear-sims."""
        inner = getattr(survey, "descwl_survey", survey)
        named = getattr(inner, "survey_name", getattr(survey, "name", None))
        owner = str(named or self._survey_name or "LSST")
        filter_name = str(survey.filter_band)
        if owner.lower() == "euclid" and filter_name == "i":  # WeakLensingDeblending's VIS
            filter_name = "VIS"
        try:
            band = find_band(filter_name, owner)
        except GalSimValueError as error:
            hint = "" if named else (
                ". This survey does not say whose it is: make the catalogue with "
                'gal_type="wldeblend", which has the survey_name of make_sim, or give '
                "survey_name"
            )  # fmt: skip
            raise GalSimValueError(f"{error}{hint}. The filter is", filter_name) from error
        if not named and self._survey_name is None:
            self._survey_name = owner  # one warning
            galsim_warn(
                f"The survey does not say whose filter {filter_name} is: it is taken to be LSST's. "
                'Give survey_name="LSST" if it is; for another survey give its survey_name, or '
                'gal_type="wldeblend" to have its noise and zero-point too.'
            )
        return band


def _layout_class() -> Any:
    try:
        from descwl_shear_sims.layout import Layout  # type: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "A layout by its name needs descwl-shear-sims, which is not installed and not on PyPI: "
            "see https://github.com/LSSTDESC/descwl-shear-sims, or give a Layout"
        ) from error
    return Layout
