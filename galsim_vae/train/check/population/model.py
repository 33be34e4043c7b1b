"""The synthetic population as the catalogues would list it: the model side of the comparison."""

import galsim
import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.frame.observation import Observation
from galsim_vae.train.synthetic import galaxies as synthetic
from galsim_vae.train.synthetic import population
from galsim_vae.train.synthetic.colours import colour_table

from .catalogues import Catalogues, measured_geometry

__all__ = ["COLOURS", "LIMITS", "SEED", "DrawnPopulation", "between"]

SEED = 814
REPEATS = 20  # model galaxies for one of the data, at least
MODEL_GALAXIES = 20_000
COLOUR_GALAXIES = 3000
IMITATIONS = 2  # of each measured stamp, and for each of them
DRAWS = 500  # of the population
LIMITS = (20.0, 25.0)  # F814W, of the project's acceptance criteria
# F450W lies between F435W and F606W: log-linear in wavelength, its colour is this share of theirs.
F450W_SHARE = np.log(592 / 456) / np.log(592 / 433)
COLOURS = {
    "F450W-F606W": (0, 1), "F606W-F814W": (1, 2), "F814W-F125W": (2, 3), "F125W-F160W": (3, 4)
}  # fmt: skip


class DrawnPopulation:
    """Draws of the synthetic population, all from one seed.

    Parameters
    ----------
    data : Catalogues
        The stamps of `data.measured` are imitated.
    seed : int
    colours : int
        Number of galaxies whose images are made to find their colours.
    """

    def __init__(self, data: Catalogues, seed: int = SEED, colours: int = COLOUR_GALAXIES):
        self.generator = torch.Generator().manual_seed(seed)
        self.field = population.sample(10 * MODEL_GALAXIES, self.generator).numpy()
        self.conditions, self.colours = self._colours(colours)
        self.natural = self._natural()
        self.like = data.measured
        self.measured = self._measured(data)

    def at(self, magnitude: NDArray, repeats: int | None = None) -> dict[str, NDArray]:
        """Draw size, |g| and redshift at given magnitudes, several for each."""
        repeats = repeats or max(REPEATS, MODEL_GALAXIES // len(magnitude))
        low, high = DEFAULT_RANGES["magnitude"]
        m = torch.tensor(np.repeat(magnitude, repeats), dtype=torch.float32).clamp(low, high)
        _, size, g, redshift = self._conditions(m).numpy().T
        return {"half_light_radius": size, "g": g, "redshift": redshift}

    def _measured(self, data: Catalogues) -> Table:
        """Synthetic galaxies like `data.measured`: same magnitudes, PSFs and measurement."""
        inside = between(data.measured["magnitude"], LIMITS[0], LIMITS[1] + 0.5)
        magnitude = np.repeat(data.measured["magnitude"][inside], IMITATIONS)
        sample = np.repeat(data.measured["sample"][inside], IMITATIONS)
        conditions = self._conditions(torch.tensor(magnitude, dtype=torch.float32))
        stamps = self._stamps(conditions)[:, synthetic.REFERENCE].numpy()
        _, radius, g, _ = conditions.numpy().T
        rows = []
        for i in range(len(stamps)):
            psf, scale = data.instruments[sample[i]]
            geometry = measured_geometry(_seen(stamps[i], float(radius[i]), psf, scale))
            if geometry is not None:
                size = geometry.half_light_radius
                rows.append((sample[i], magnitude[i], radius[i], g[i], size, geometry.g))
        names = (
            "sample",
            "magnitude",
            "true_half_light_radius",
            "true_g",
            "half_light_radius",
            "g",
        )
        return Table(rows=rows, names=names)

    def apparent(self, like: Table, column: str) -> NDArray:
        """Draw half-light radii or |g| as measured through the PSFs of galaxies like these.

        True values times the measurement's bias, a parabola in ln(radius) through
        `DrawnPopulation.measured`: far less noisy than the distribution of those few galaxies.
        """
        drawn = []
        for sample in np.unique(like["sample"]):
            # The ratio of small |g| is all scatter.
            known = self.measured[self.measured["true_g"] > 0.1]
            known = known[known["sample"] == sample]
            size, bias = (
                np.log(known["true_half_light_radius"]),
                known[column] / known["true_" + column],
            )
            parabola = np.polyfit(size, np.log(bias), 2)
            magnitude = np.asarray(like["magnitude"])[like["sample"] == sample]
            true = self.at(magnitude, DRAWS)
            place = np.clip(np.log(true["half_light_radius"]), size.min(), size.max())
            drawn.append(true[column] * np.exp(np.polyval(parabola, place)))
        return np.concatenate(drawn)

    def _conditions(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Conditions of galaxies at given magnitudes: (n, 4)."""
        redshift = population.redshifts(magnitude, self.generator)
        size = population.half_light_radii(magnitude, redshift, self.generator)
        g = population.ellipticities(magnitude, self.generator)
        return torch.stack((magnitude, size, g, redshift), 1)

    def _stamps(self, conditions: torch.Tensor) -> torch.Tensor:
        """Canonical stamps of galaxies with these conditions: (n, bands, 64, 64)."""
        table = colour_table()
        parts = conditions.split(250)
        return torch.cat(
            [synthetic.sample(c, self.generator, table, frame=UPRIGHT).stamps for c in parts]
        )

    def _natural(self) -> NDArray:
        """Indices of galaxies with colours, with the population's magnitudes."""
        count, edges = np.histogram(self.field[:, 0], bins=40)
        m = self.conditions[:, 0]
        weight = np.interp(m, 0.5 * (edges[1:] + edges[:-1]), count)
        return np.random.default_rng(SEED).choice(len(m), 4 * len(m), p=weight / weight.sum())

    def _colours(self, n: int) -> tuple[NDArray, dict[str, NDArray]]:
        """Integrated colours of synthetic galaxies, magnitudes even within `LIMITS` + 0.5."""
        u = torch.rand(n, generator=self.generator)
        conditions = self._conditions(LIMITS[0] + (LIMITS[1] + 0.5 - LIMITS[0]) * u)
        flux = self._stamps(conditions).sum((2, 3))
        magnitude = -2.5 * np.log10(flux.numpy())
        colours = {k: magnitude[:, a] - magnitude[:, b] for k, (a, b) in COLOURS.items()}
        colours["F450W-F606W"] = colours["F450W-F606W"] * F450W_SHARE
        return conditions.numpy(), colours


def _seen(stamp: NDArray, radius: float, psf: galsim.GSObject, scale: float) -> Observation:
    """A canonical stamp of some half-light radius [arcsec] through a PSF, without noise."""
    image = galsim.Image(np.ascontiguousarray(stamp), dtype=np.float32)
    galaxy = galsim.InterpolatedImage(image, scale=radius / HALF_LIGHT_PIXELS)
    size = 2 * int(np.clip(5.5 * radius / scale + 20, 20, 180)) + 1
    drawn = galsim.Convolve(galaxy, psf).drawImage(
        nx=size, ny=size, scale=scale, method="no_pixel", dtype=float
    )
    return Observation({"F814W": drawn.array}, {"F814W": scale}, {"F814W": psf})


def between(values, low: float, high: float) -> NDArray:
    """Tell which values are at least `low` and less than `high`, bool (n,)."""
    values = np.asarray(values)
    return (values >= low) & (values < high)
