"""How the shapes of galaxies respond to shear: what a shear calibration takes from simulations.

Each galaxy is turned by angles of a ring, sheared by plus and minus `SHEAR`, and seen through the
PSF of a survey, without noise. Were simulated galaxies the real ones, both would respond alike;
the difference is the multiplicative bias that a calibration with them leaves.
"""

import numpy as np
from numpy.typing import NDArray

from galsim_vae.shear import SurveyView, survey_view
from galsim_vae.shear.estimators import make_estimator
from galsim_vae.stamps import Stamps

__all__ = ["KINDS", "SHEAR", "VIEWS", "measure", "relative", "relative_of_halves", "views"]

SHEAR = 0.02
_ANGLES = np.arange(8) * np.pi / 8  # ellipses come round after half a turn
#: Surveys' filters, by what they are called here.
VIEWS = {"LSST i": ("LSST", "i"), "Euclid VIS": ("Euclid_VIS", "IE")}
_MEASURES = ("REGAUSS", "second moments")
#: What is measured, by the name of its arrays.
KINDS = {f"{view}/{measure}": f"{view}, {measure}" for view in VIEWS for measure in _MEASURES}
# Pixels of an image: odd, so that the galaxy is in the middle of one.
_SIZE = {"LSST i": 63, "Euclid VIS": 95}
# FWHM of the Gaussian weight of the second moments over the PSF's.
_WEIGHT = 1.5
# Images that are kept at a time.
_AT_ONCE = 500


def views() -> dict[str, SurveyView]:
    """Return the PSFs and pixels of `VIEWS`."""
    return {name: survey_view(*place) for name, place in VIEWS.items()}


def measure(
    galaxies: Stamps, view: SurveyView, name: str, flux: float | None = None
) -> dict[str, NDArray]:
    """Measure the shear response of galaxies.

    Parameters
    ----------
    galaxies : Stamps
        Of one band, as `galsim_vae.shear.twins.in_one_band` gives them.
    view : SurveyView
        How they are seen.
    name : str
        Of `VIEWS`.
    flux : float, optional
        Over which second moments are taken; if absent, each image's own in their weight, which
        must not be lost in noise.

    Returns
    -------
    dict of ndarray (n, 2)
        By `KINDS`. What the shear changes, over the shear, and what this is compared with, both
        means over the ring; NaN where one image cannot be measured. For REGAUSS they are the first
        component of the shape and the response that it takes for granted, 2 (1 - e^2); for second
        moments x^2 - y^2 and x^2 + y^2, over the flux, so that none is the ratio of a galaxy's own
        noisy moments.
    """
    size = _SIZE[name]
    parts = [
        _ring(galaxies[k : k + _AT_ONCE], view, size, flux)
        for k in range(0, len(galaxies), _AT_ONCE)
    ]
    columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return dict(zip((f"{name}/{kind}" for kind in _MEASURES), columns, strict=True))


def _ring(
    galaxies: Stamps, view: SurveyView, size: int, flux: float | None
) -> tuple[NDArray, NDArray]:
    """REGAUSS and second moments of some galaxies, (n, 2) each."""
    n = len(galaxies)
    regauss = make_estimator("regauss", view, size)
    weight = _weights(size, view)
    found = np.zeros((2, n, 2))
    nothing = np.empty(0)
    for angle in _ANGLES:
        for sign in (1, -1):
            images = galaxies.render(
                view.psf, size, size, view.scale, shear=(sign * SHEAR, 0.0),
                rotation=np.full(n, angle), device="cpu",
            )[:, 0]  # fmt: skip
            shapes = regauss.stamps(images, nothing)
            e = np.where(shapes.ok, shapes.e[:, 0], np.nan)
            found[0] += np.stack([sign * e / SHEAR, shapes.r[:, 0]], 1)
            own, plus, cross = np.einsum("nyx,kyx->kn", images.astype(float), weight)
            over = np.where(own > 0, own, np.nan) if flux is None else flux
            found[1] += np.stack([sign * cross / SHEAR, plus], 1) / np.reshape(over, (-1, 1))
    regauss_of, moments_of = found / (2 * len(_ANGLES))
    return regauss_of, moments_of


def _weights(size: int, view: SurveyView) -> NDArray:
    """Weights whose sums are flux, and second moments x^2 + y^2 and x^2 - y^2: (3, size, size)."""
    axis = (np.arange(size) - (size - 1) / 2) * view.scale
    x2, y2 = axis[None] ** 2, axis[:, None] ** 2
    sigma = _WEIGHT * view.fwhm / np.sqrt(8 * np.log(2))
    gaussian = np.exp(-0.5 * (x2 + y2) / sigma**2)
    return gaussian * np.stack([np.ones_like(gaussian), x2 + y2, x2 - y2])


def relative(reference: NDArray, other: NDArray) -> float:
    """Return the response of galaxies over that of others, less 1.

    The response is the sum over all galaxies of the change, over the sum of what it is compared
    with. For REGAUSS the result is (m' - m) / (1 + m), of its biases m and m'.

    Parameters
    ----------
    reference, other : ndarray (n, 2)
        As `measure` gives them; what is not known of both is left out.
    """
    good = np.isfinite(reference).all(1) & np.isfinite(other).all(1)
    return relative_of_halves(reference[good], other[good])


def relative_of_halves(reference: NDArray, other: NDArray) -> float:
    """Return the same of galaxies that are no pairs."""
    first, second = (v[np.isfinite(v).all(1)].sum(0) for v in (reference, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((second[0] / second[1]) / (first[0] / first[1]) - 1)
