"""Objects of an image and the pixels that belong to them: `sep` on the sum of the bands.

Barbary 2016, JOSS 1, 58, after Bertin & Arnouts 1996, A&AS 117, 393.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.frame import canonical as frame
from galsim_vae.frame.observation import Observation
from galsim_vae.train.apertures import elliptical_radius

from . import sky

__all__ = ["Objects", "find", "grown", "mask_neighbours", "score"]

# Threshold over the noise, smallest area [pixel], and sep's deblending contrast.
THRESHOLD, MIN_AREA, DEBLEND = 3.0, 10, 0.02
BACKGROUND = 128  # mesh of the background that is subtracted [pixel]
# A neighbour's segment is masked with so many pixels around it, and this share of its own radius:
# halos of bright stars and galaxies reach beyond their segments.
GROWTH, GROWTH_SHARE = 3.0, 0.25
# Neighbours that a stamp's own mask leaves out: a finer contrast finds them on a galaxy's wings,
# and only those farther from its centre than so many half-light radii count, since arms and clumps
# are nearer.
STAMP_DEBLEND, NEIGHBOUR_RADII = 0.005, 2.0


class Objects(NamedTuple):
    """What was found: sep's table, and the segments, (ny, nx) int: row k of the table has k + 1."""

    table: NDArray
    segments: NDArray


def score(
    image: dict[str, NDArray],
    rms: dict[str, NDArray],
    good: dict[str, NDArray],
    subtract_background: bool,
) -> NDArray:
    """Inverse-variance weighted sum of the bands over its noise; 0 where no band is usable.

    Parameters
    ----------
    image, rms, good : dict of str to ndarray
        Dicts of band to array (ny, nx), in one unit proportional to f_nu.
    subtract_background : bool
        Take off a background on a mesh first.
    """
    import sep

    shape = next(iter(image.values())).shape
    total, weight = np.zeros(shape), np.zeros(shape)
    for band, data in image.items():
        usable = good[band] & (rms[band] > 0)
        inverse = np.divide(1.0, rms[band], out=np.zeros(shape), where=usable) ** 2
        data = np.where(usable, data, 0.0).astype(float)
        if subtract_background:
            data -= sep.Background(data, mask=~usable, bw=BACKGROUND, bh=BACKGROUND).back()
        total += data * inverse
        weight += inverse
    return np.divide(total, np.sqrt(weight), out=np.zeros(shape), where=weight > 0)


def find(score: NDArray, seen: NDArray, deblend: float = DEBLEND) -> Objects:
    """Find objects in a detection image; its noise is measured on it.

    Parameters
    ----------
    seen : ndarray
        Bool (ny, nx), where there are data.
    deblend : float, optional
        Sep's contrast between two objects in one.
    """
    import sep

    show = sky.pixels(score, seen)
    sigma = sky.noise(score, show if show.any() else seen)
    sep.set_extract_pixstack(max(sep.get_extract_pixstack(), score.size))
    sep.set_sub_object_limit(16384)
    table, segments = sep.extract(
        score, THRESHOLD, err=max(sigma, 1e-30), mask=~seen, minarea=MIN_AREA,
        deblend_cont=deblend, segmentation_map=True,
    )  # fmt: skip
    return Objects(table, segments)


def grown(segments: NDArray, labels: NDArray) -> NDArray:
    """Pixels of some segments and around them.

    Parameters
    ----------
    segments : ndarray
        Int (ny, nx), 0 where there is no object.
    labels : ndarray
        Of the segments.

    Returns
    -------
    bool array (ny, nx)
    """
    pixels = np.bincount(segments.ravel())
    near = np.zeros(segments.shape, dtype=bool)
    growth = np.ceil(GROWTH + GROWTH_SHARE * np.sqrt(pixels[labels] / np.pi))
    for reach in np.unique(growth):
        those = np.isin(segments, labels[growth == reach])
        near |= ndimage.distance_transform_edt(~those) <= reach
    return near


def mask_neighbours(observation: Observation, geometry: frame.Geometry) -> dict[str, NDArray]:
    """Masks of an observation without the neighbours that stand beside the galaxy.

    All bands must be on one pixel grid; otherwise the masks come back as they are.

    Returns
    -------
    dict of band to bool array, True where usable.
    """
    shapes = {image.shape for image in observation.image.values()}
    if len(shapes) > 1 or min(observation.noise.values()) <= 0:
        return observation.mask
    rms = {b: np.full(i.shape, observation.noise[b]) for b, i in observation.image.items()}
    seen = np.any(list(observation.mask.values()), axis=0)
    image = score(observation.image, rms, observation.mask, False)
    objects = find(image, seen, STAMP_DEBLEND)
    distance = elliptical_radius(observation, geometry, geometry.band)
    peak = distance[objects.table["ypeak"], objects.table["xpeak"]]
    own = geometry.observed_half_light_radius
    others = np.flatnonzero(peak > NEIGHBOUR_RADII * own) + 1
    near = grown(objects.segments, others) & (distance > own)
    return {band: mask & ~near for band, mask in observation.mask.items()}
