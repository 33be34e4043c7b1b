"""Images of galaxies for a shear calibration: each in a stamp of its own, or many in a scene.

A layout says where the galaxies lie, draws them there, and has the images measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import galsim
import numpy as np
from numpy.typing import NDArray

from galsim_vae.bands import REFERENCE
from galsim_vae.geometry import rotation_matrix, shear_matrix
from galsim_vae.stamps import Stamps

from .config import CalibrationConfig
from .estimators import Estimator, SceneSums, centre_shift, detect
from .survey import ZEROPOINT, SurveyView

__all__ = ["Blended", "Isolated", "Layout", "Measured", "compose", "draw_stamps", "make_layout"]

Clock = Callable[[str], AbstractContextManager]


class Measured(NamedTuple):
    """What an estimator made of n images.

    Attributes
    ----------
    e, r : ndarray (n, 2) float64
        Shapes and responses; in a blended scene the sums over what was found.
    ok : ndarray (n,) bool
        Whether the image is of use.
    count : ndarray (n,) int
        Number of galaxies that were measured.
    """

    e: NDArray
    r: NDArray
    ok: NDArray
    count: NDArray


class Layout(ABC):
    """Where the galaxies of a chunk lie, in n images.

    Parameters
    ----------
    config : CalibrationConfig
    view : SurveyView
    n : int
        Number of images.
    rng : numpy.random.Generator
        Draws the positions.

    Attributes
    ----------
    isolated : bool
        Whether each image has one galaxy: n is m.
    width : int
        Of an image, pixels.
    places : ndarray (m, 2) float64
        Positions of m galaxies from the middle of their image, arcsec, without shear.
    """

    isolated: bool
    width: int
    places: NDArray

    def __init__(
        self, config: CalibrationConfig, view: SurveyView, n: int, rng: np.random.Generator
    ):
        self.config, self.view, self.n = config, view, n
        self._place(rng)

    @abstractmethod
    def _place(self, rng: np.random.Generator) -> None:
        """Set `width` and `places`."""

    @abstractmethod
    def draw(self, stamps: Stamps, shear: NDArray, angle: float) -> NDArray:
        """Draw the galaxies without noise, turned and sheared together with their positions.

        Parameters
        ----------
        stamps : Stamps
            m galaxies of one band, as `galsim_vae.shear.twins.in_one_band` gives them.
        shear : ndarray (m, 2)
            (g1, g2) of each.
        angle : float
            Radians.

        Returns
        -------
        ndarray (n, width, width) float32
            nJy.
        """

    @abstractmethod
    def measure(
        self, estimators: dict[str, Estimator], images: NDArray, renoise: NDArray, clock: Clock
    ) -> Iterator[tuple[str, Measured]]:
        """Yield what each estimator makes of images.

        Parameters
        ----------
        estimators : dict of str to Estimator
        images, renoise : ndarray (n, width, width) float32
            Images with noise, and noise of the same kind, nJy.
        clock : callable
            Gives the context in which the time of a step is taken.

        Yields
        ------
        name : str
        Measured
        """

    def _draw_stamps(self, stamps: Stamps, shear: NDArray, angle: float, place: NDArray) -> NDArray:
        config = self.config
        return draw_stamps(
            stamps, self.view, config.stamp_size, shear, angle, place, config.renderer,
            config.device,
        )  # fmt: skip


class Isolated(Layout):
    """Each galaxy in the middle pixel of a stamp of its own."""

    isolated = True

    def _place(self, rng: np.random.Generator) -> None:
        self.width = self.config.stamp_size
        # Anywhere in the middle pixel, so that pixels have no part in m.
        self.places = self.view.scale * rng.uniform(-0.5, 0.5, (self.n, 2))

    def draw(self, stamps: Stamps, shear: NDArray, angle: float) -> NDArray:
        """See `Layout.draw`."""
        return self._draw_stamps(stamps, shear, angle, _moved(self.places, angle, shear))

    def measure(
        self, estimators: dict[str, Estimator], images: NDArray, renoise: NDArray, clock: Clock
    ) -> Iterator[tuple[str, Measured]]:
        """See `Layout.measure`."""
        for name, estimator in estimators.items():
            with clock(f"measure {name}"):
                found = estimator.stamps(images, renoise)
            yield name, Measured(*found, found.ok.astype(int))


class Blended(Layout):
    """Galaxies at random in a disc, which overlap; their number in an image is Poisson's.

    A disc has no direction, and all light and detections of its galaxies are in the image: no
    galaxy moves in or out with the shear.
    """

    isolated = False

    def _place(self, rng: np.random.Generator) -> None:
        config = self.config
        self.width = config.scene_size
        radius = 0.5 * self.view.scale * (config.scene_size - 1.5 * config.stamp_size)
        density = config.density
        if density is None:
            density = _counts(config.max_magnitude)
        count = np.maximum(rng.poisson(density * np.pi * radius**2 / 3600, self.n), 1)
        m = int(count.sum())
        distance, angle = radius * np.sqrt(rng.uniform(size=m)), rng.uniform(0, 2 * np.pi, m)
        self.places = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
        self._scene = np.repeat(np.arange(self.n), count)

    def draw(self, stamps: Stamps, shear: NDArray, angle: float) -> NDArray:
        """See `Layout.draw`."""
        place = _moved(self.places, angle, shear) / self.view.scale
        pixel = np.rint(place).astype(int)
        images = self._draw_stamps(stamps, shear, angle, (place - pixel) * self.view.scale)
        return compose(images, self._scene, pixel, self.n, self.width)

    def measure(
        self, estimators: dict[str, Estimator], images: NDArray, renoise: NDArray, clock: Clock
    ) -> Iterator[tuple[str, Measured]]:
        """See `Layout.measure`."""
        found = [None] * self.n
        if not all(estimator.detects for estimator in estimators.values()):
            with clock("detect"):
                pairs = zip(images, renoise, strict=True)
                found = [detect(*pair, self.view, self.config.stamp_size) for pair in pairs]
        for name, estimator in estimators.items():
            with clock(f"measure {name}"):
                scenes = zip(images, renoise, found, strict=True)
                sums: list[SceneSums] = [estimator.scene(*one) for one in scenes]
            e, r, count = (np.array(part) for part in zip(*sums, strict=True))
            yield name, Measured(e, r, np.ones(self.n, bool), count)


def make_layout(
    config: CalibrationConfig, view: SurveyView, n: int, rng: np.random.Generator
) -> Layout:
    """Return the layout that a configuration asks for; the parameters are those of `Layout`."""
    kind = Isolated if config.layout == "isolated" else Blended
    return kind(config, view, n, rng)


def _counts(max_magnitude: float | None) -> float:
    """Return the number of galaxies per square arcmin to a magnitude, AB in F814W.

    N(< i) = 46 x 10^(0.31 (i - 25)), the LSST Science Book (arXiv:0912.0201), equation 3.7; to 26.5
    without a limit.
    """
    return 46 * 10 ** (0.31 * ((max_magnitude or 26.5) - 25))


def draw_stamps(
    stamps: Stamps, view: SurveyView, size: int, shear: NDArray, angle: float, place: NDArray,
    renderer: str = "batch", device: str = "cpu",
) -> NDArray:  # fmt: skip
    """Draw galaxies without noise: turned, sheared, moved, seen.

    Parameters
    ----------
    stamps : Stamps
        Galaxies of one band, as `galsim_vae.shear.twins.in_one_band` gives them.
    view : SurveyView
    size : int
        Width of the images, pixels.
    shear : ndarray (n, 2)
        (g1, g2) of each.
    angle : float
        Radians.
    place : ndarray (n, 2)
        Where each comes to lie, arcsec from the pixel ``[size // 2, size // 2]``.
    renderer : {"batch", "galsim"}
        `galsim_vae.Stamps.render`, or GalSim's drawImage for each.
    device : str
        Of the batches.

    Returns
    -------
    ndarray (n, size, size) float32
        In nJy.
    """
    place = place + centre_shift(size) * view.scale
    if renderer == "batch":
        return stamps.render(
            view.psf, size, size, view.scale, shear=shear, rotation=np.full(len(stamps), angle),
            shift=place, zeropoint=ZEROPOINT, device=device,
        )[:, 0]  # fmt: skip
    images = np.zeros((len(stamps), size, size), np.float32)
    for i, array in enumerate(images):
        galaxy = stamps.galaxy(i, REFERENCE, ZEROPOINT).rotate(angle * galsim.radians)
        galaxy = galaxy.shear(g1=shear[i, 0], g2=shear[i, 1]).shift(*place[i])
        image = galsim.Image(array, scale=view.scale, copy=False)
        galsim.Convolve(galaxy, view.psf).drawImage(image)
    return images


def compose(images: NDArray, scene: NDArray, pixel: NDArray, n: int, width: int) -> NDArray:
    """Add stamps to scenes.

    Parameters
    ----------
    images : ndarray (m, size, size) float32
    scene : ndarray (m,) int
        The scene of each stamp.
    pixel : ndarray (m, 2) int
        (x, y) of each stamp's pixel ``[size // 2]`` from that of the scene, ``[width // 2]``.
    n, width : int
        Number of scenes and their width, pixels.

    Returns
    -------
    ndarray (n, width, width) float32
    """
    size = images.shape[-1]
    pad = size // 2 + 1
    fields = np.zeros((n, width + 2 * pad, width + 2 * pad), np.float32)
    corner = pixel + width // 2 + pad - size // 2
    for image, i, (x, y) in zip(images, scene, corner, strict=True):
        fields[i, y : y + size, x : x + size] += image
    return fields[:, pad:-pad, pad:-pad].copy()


def _moved(place: NDArray, angle: float, shear: NDArray) -> NDArray:
    """Return positions turned and sheared about the origin like the galaxies at them, (m, 2)."""
    matrix = shear_matrix(*shear.T) @ rotation_matrix(angle)
    return np.einsum("nij,nj->ni", matrix, place)
