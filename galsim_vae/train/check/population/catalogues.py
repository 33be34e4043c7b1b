"""The catalogues that the synthetic population is held against, as plain tables.

No catalogue at hand has magnitude, size, ellipticity and redshift together, so each relation has
its own. What a column means was checked, not taken on trust; each reader says how.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.bands import hst_psf
from galsim_vae.frame import canonical as frame
from galsim_vae.frame import moments as estimate
from galsim_vae.frame.observation import Observation
from galsim_vae.train.failures import failure
from galsim_vae.train.synthetic.colours import TEMPLATES, igm_transmission

from .goods import figs, three_d_hst

__all__ = [
    "ILBERT",
    "Catalogues",
    "candels",
    "cosmos_shapes",
    "hubble_deep_field",
    "instruments",
    "measured",
    "measured_geometry",
    "photometric_redshifts",
    "read",
    "zcosmos",
]

# HDF-N: central wavelength and width [nm] of F300W, F450W, F606W, F814W (WFPC2) and J, H, K.
_HDF_FILTERS = ((296, 78), (456, 95), (600, 150), (801, 154), (1240, 260), (1650, 290), (2190, 390))
# AB zero-point of its fluxes: counts to 25 mag are then 47 per square arcmin in its 5.05 square
# arcmin (46 in the LSST Science Book, arXiv:0912.0201, eq. 3.7); with microjansky, 88.
_HDF_ZEROPOINT = 25.0
# Brighter than this, what is hardly larger than the PSF is a star.
_STAR_MAGNITUDE, _STAR_SIZE = 24.0, 1.5
_TEMPLATE_ERROR = 0.08  # of each flux, as much as Fernandez-Soto et al. 1999 (ApJ 513, 34) find
_COLOURS = {"F450W-F606W": (1, 2), "F606W-F814W": (2, 3), "F814W-F125W": (3, 4)}

# Median redshifts of COSMOS by photometric redshifts in 30 bands: magnitudes from, to, median.
# Ilbert et al. 2009 (ApJ 690, 1236), abstract.
ILBERT = ((22.0, 22.5, 0.66), (24.5, 25.0, 1.06))


class Catalogues(NamedTuple):
    """All of them, by the names of the functions that read them."""

    cosmos_shapes: Table
    zcosmos: Table
    measured: Table
    candels: Table
    hubble_deep_field: Table
    instruments: dict[str, tuple[galsim.GSObject, float]]
    three_d_hst: Table
    figs: Table


def read(shared: Path) -> Catalogues:
    """Read all catalogues.

    Raises
    ------
    galsim.GalSimValueError
        `shared` has no folder ``catalogues``.
    """
    if not (shared / "catalogues").is_dir():
        raise galsim.GalSimValueError(
            "Give the folder that holds catalogues/, cosmos_f814w/ and the others;", str(shared)
        )
    return Catalogues(
        cosmos_shapes(shared),
        zcosmos(shared),
        measured(shared),
        candels(shared),
        hubble_deep_field(shared),
        instruments(shared),
        three_d_hst(shared),
        figs(shared),
    )


def cosmos_shapes(shared: Path) -> Table:
    """|g| of COSMOS galaxies brighter than 23.5 mag: magnitude, g.

    The file's e1, e2 are a distortion, (a^2 - b^2) / (a^2 + b^2). The script that made it (GREAT3,
    Mandelbaum et al. 2014, ApJS 212, 5) stores ``galsim.Shear(q=).e1`` of a Sersic fit or
    ``hsm.EstimateShear().corrected_e1`` of a bulge + disc fit, PSF-free in either case. The values
    agree: the flattest hundredth has axis ratios of 0.13; read as |g| it would have 0.02.
    """
    table = Table.read(shared / "catalogues" / "cosmos_shapes.fits")
    e = np.hypot(table["e1"], table["e2"]).astype(float)
    keep = e < 1  # 16 failed corrections
    g = np.tanh(0.5 * np.arctanh(e[keep]))
    return Table({"magnitude": np.asarray(table["F814W"], dtype=float)[keep], "g": g})


def zcosmos(shared: Path) -> Table:
    """Spectroscopic redshifts of galaxies with 15 < I(AB) < 22.5: magnitude, redshift.

    Only those of `Flag` 1: primary targets, no broad-line nuclei, and, as nearly all of their
    confidence classes end in .5, redshifts that agree with the photometric ones (zCOSMOS-bright;
    Lilly et al. 2009, ApJS 184, 218). Stars are left out.
    """
    path = shared / "catalogues" / "zcosmos_bright.fits.gz"
    data = fits.getdata(path, 1)
    keep = (data["Flag"] == 1) & (data["z_spec"] > 0.02) & (data["m_I"] < 22.5)
    columns = {"magnitude": data["m_I"], "redshift": data["z_spec"]}
    return Table({name: np.array(c[keep], dtype=float) for name, c in columns.items()})


def measured(shared: Path) -> Table:
    """Sizes and |g| measured here: sample, magnitude, half_light_radius, g, redshift (-1: unknown).

    COSMOS: GalSim's real galaxies, with their PSFs. COSMOS cutouts: others in the same field, with
    the PSF of the first of those. CANDELS: GOODS-S, with the model PSF. Stars are left out: bright
    ones with an observed radius below 1.5 times the PSF's.
    """
    rows = []
    for name, magnitude, redshift, observation in _images(shared):
        geometry = measured_geometry(observation)
        if geometry is None:
            continue
        star = _STAR_SIZE * estimate.psf_size(*_psf_and_scale(observation))[1]
        if magnitude < _STAR_MAGNITUDE and geometry.observed_half_light_radius < star:
            continue
        rows.append((name, magnitude, geometry.half_light_radius, geometry.g, redshift))
    return Table(rows=rows, names=("sample", "magnitude", "half_light_radius", "g", "redshift"))


def measured_geometry(observation: Observation) -> frame.Geometry | None:
    """Return what `frame.measure` finds, None if it fails.

    sqrt(ab) of the half-light ellipse and |g| of the adaptive moments, both corrected for the PSF
    as if all were Gaussians. An exponential disc of 0.3" comes out 6 % too large and 7 % too round,
    so model and data are compared after the same measurement.
    """
    try:
        return frame.measure(observation)
    except Exception as error:
        failure(error)
        return None


def instruments(shared: Path) -> dict[str, tuple[galsim.GSObject, float]]:
    """PSF and pixel scale [arcsec] that stand for each sample of `measured`."""
    cosmos = _cosmos(shared).getPSF(0), 0.03
    return {"COSMOS": cosmos, "COSMOS cutouts": cosmos, "CANDELS": (hst_psf("F814W"), 0.06)}


def _psf_and_scale(observation: Observation) -> tuple[galsim.GSObject, float]:
    return observation.psf["F814W"], float(np.sqrt(observation.wcs["F814W"].pixelArea()))


def _cosmos(shared: Path) -> galsim.RealGalaxyCatalog:
    return galsim.RealGalaxyCatalog("real_galaxy_catalog.fits", dir=str(shared / "cosmos_f814w"))


def _images(shared: Path) -> Iterator[tuple[str, float, float, Observation]]:
    """Sample, magnitude, redshift and F814W image of each galaxy."""
    catalogue = _cosmos(shared)
    redshift = fits.getdata(shared / "cosmos_f814w" / "real_galaxy_catalog_fits.fits", 1)["ZPHOT"]
    for i in range(catalogue.nobjects):
        image, psf = catalogue.getGalImage(i).array, catalogue.getPSF(i)
        observation = Observation({"F814W": image}, {"F814W": 0.03}, {"F814W": psf})
        yield "COSMOS", float(catalogue.mag[i]), float(redshift[i]), observation

    psf = catalogue.getPSF(0)
    with np.load(shared / "more" / "hst_acs_f814w.npz") as data:
        # The others have no zero-point.
        for i in np.flatnonzero([str(name).startswith("qso") for name in data["id"]]):
            if data["quality"][i] < 1:
                continue
            observation = Observation(
                {"F814W": data["img"][i, 0]},
                {"F814W": float(data["stamp_scale"][i])},
                {"F814W": psf},
                mask={"F814W": data["mask"][i] == 0},
                centre={"F814W": (float(data["x"][i]), float(data["y"][i]))},
            )
            yield "COSMOS cutouts", float(data["mag"][i, 0]), -1.0, observation

    with fits.open(shared / "candels_goodss" / "stamps_60mas.fits.gz") as hdus:
        for image, magnitude in zip(
            hdus["F814W"].data, hdus["CATALOG"].data["mag814"], strict=True
        ):
            # Zero outside the segment; holes are clipped negative pixels of the galaxy.
            mask = ndimage.binary_fill_holes(image > 0)
            observation = Observation(
                {"F814W": image}, {"F814W": 0.06}, {"F814W": hst_psf("F814W")}, mask={"F814W": mask}
            )
            yield "CANDELS", float(magnitude), -1.0, observation


def candels(shared: Path) -> Table:
    """Colours of 150 CANDELS GOODS-S galaxies: magnitude, F606W-F814W, F814W-F125W; no redshift.

    AB as the file says: its header magnitudes are fainter by 0.842 mag in F814W, which is the
    difference between the instrument's ST and AB zero-points.
    """
    data = fits.getdata(shared / "candels_goodss" / "stamps_60mas.fits.gz", "CATALOG")
    v, i, j = (np.asarray(data[f"mag{band}"], dtype=float) for band in (606, 814, 125))
    return Table({"magnitude": i, "F606W-F814W": v - i, "F814W-F125W": i - j})


def hubble_deep_field(shared: Path) -> Table:
    """HDF-N: magnitude, redshift, spectroscopic, F450W-F606W, F606W-F814W, F814W-F125W.

    Redshifts are spectroscopic (114) or else photometric: the least chi-square over the CWW
    templates and mixtures of neighbouring ones, with filters as boxes, much as Fernandez-Soto et
    al. (1999, ApJ 513, 34) did with these data. Against the spectroscopic ones their scatter is
    0.07 (1 + z), with 11 % beyond 0.15 (1 + z). Ground-based J stands for F125W.
    """
    data = np.loadtxt(shared / "catalogues" / "hdfn_fs99_eazy.cat")
    flux, error, known = data[:, 1:15:2], data[:, 2:16:2], data[:, 15]
    spectroscopic = known > 0
    photometric = photometric_redshifts(flux, error)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitudes = _HDF_ZEROPOINT - 2.5 * np.log10(flux)
    columns = {name: magnitudes[:, a] - magnitudes[:, b] for name, (a, b) in _COLOURS.items()}
    table = Table(
        {
            "magnitude": magnitudes[:, 3],
            "redshift": np.where(spectroscopic, known, photometric),
            "spectroscopic": spectroscopic,
            "photometric_redshift": photometric,
            **columns,
        }
    )
    return table[np.isfinite(table["magnitude"])]


def photometric_redshifts(flux: NDArray, error: NDArray) -> NDArray:
    """Redshift of the template that fits best, for HDF-N fluxes (n, 7): (n,)."""
    redshift = np.arange(0.02, 6.0, 0.02)
    model = _template_fluxes(redshift).reshape(-1, len(_HDF_FILTERS))
    weight = 1 / (error**2 + (_TEMPLATE_ERROR * flux) ** 2)
    # chi-square with the amplitude that is best, less a constant: -(f.m)^2 / m.m
    product = (weight * flux) @ model.T
    gain = np.where(product > 0, product**2 / (weight @ (model**2).T), 0)
    best = gain.reshape(len(flux), len(redshift), -1).max(2).argmax(1)
    return redshift[best]


def _template_fluxes(redshift: NDArray) -> NDArray:
    """Mean f_nu of CWW templates, mixtures and bluer ones: (redshifts, templates, filters)."""
    folder = f"{galsim.meta_data.share_dir}/SEDs"
    seds = [np.loadtxt(f"{folder}/CWW_{name}_ext.sed") for name in TEMPLATES]
    result = []
    for z in redshift:
        columns = []
        for centre, width in _HDF_FILTERS:
            wave = np.linspace(centre - width / 2, centre + width / 2, 60)
            rest = wave / (1 + z)
            flambda = [
                np.interp(rest, s[:, 0] / 10, s[:, 1]) / np.interp(450, s[:, 0] / 10, s[:, 1])
                for s in seds
            ]
            mixed = [
                (1 - t) * a + t * b
                for a, b in zip(flambda[:-1], flambda[1:], strict=True)
                for t in (0, 1 / 3, 2 / 3)
            ]
            blue = [flambda[-1] * (rest / 450) ** power for power in (0, -0.3, -0.6)]
            spectra = np.array(mixed + blue) * igm_transmission(wave, float(z))
            columns.append((spectra * wave).sum(1) / (1 / wave).sum())
        result.append(np.stack(columns, 1))
    return np.array(result)
