"""The structure of synthetic galaxies beside real HST galaxies of the same magnitude and size.

Each real galaxy has `REPEATS` synthetic ones of its magnitude, radius and |g| (and redshift, where
it is known), seen through its PSF and mask with its noise. Both are measured as the scorecard
measures galaxies, in F814W.
"""

from pathlib import Path

import galsim
import numpy as np
import torch
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.conditions import DEFAULT_RANGES, NAMES
from galsim_vae.files import write_whole
from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.train.evaluate import frame
from galsim_vae.train.evaluate.features import FEATURES
from galsim_vae.train.evaluate.observables import add_noise, observed_features, power_rings
from galsim_vae.train.evaluate.real_pieces import conditions_of, observe
from galsim_vae.train.evaluate.samples import as_fitted, of_equal_flux, sersic_fits
from galsim_vae.train.evaluate.scorecard import power_ratio
from galsim_vae.train.evaluate.upright import upright
from galsim_vae.train.seeds import seeded
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.synthetic import galaxies as synthetic
from galsim_vae.train.synthetic import population
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.training_file import Dataset

from .model import SEED

__all__ = ["REPEATS", "Structures", "chosen", "compare", "measure", "write"]

#: Synthetic galaxies for each real one.
REPEATS = 4
_EDGES = (20.0, 22.0, 23.0, 24.0, 25.0)
_RINGS = (4, 8, 12, 16)  # cycles a stamp
_FEWEST = 10  # galaxies that make a row
_PIECE = 50
_COLUMNS = [name for name in FEATURES if name not in ("g", "size", "rho4")]


class Structures:
    """What was measured: ``magnitude`` (n,), ``features`` and ``power`` of both kinds.

    Those of real galaxies are (n, columns), those of synthetic ones (n, `REPEATS`, columns).
    """

    def __init__(self, magnitude: NDArray, real: dict[str, NDArray], made: dict[str, NDArray]):
        self.magnitude, self.real, self.made = magnitude, real, made


def chosen(data: Dataset) -> Dataset:
    """Return the galaxies seen by HST in F814W that have a magnitude and a size.

    Raises
    ------
    galsim.GalSimValueError
        There are fewer than ten.
    """
    known = np.isfinite(data.magnitude) & np.isfinite(data.half_light_radius) & np.isfinite(data.g)
    bright = (data.magnitude >= _EDGES[0]) & (data.magnitude < _EDGES[-1])
    good = known & bright & (data.filters[:, BANDS.index(REFERENCE)] == REFERENCE)
    if good.sum() < _FEWEST:
        raise galsim.GalSimValueError(
            f"Give a training file with at least {_FEWEST} HST galaxies in {REFERENCE} that have "
            "a magnitude between 20 and 25 and a size; it has", int(good.sum())
        )  # fmt: skip
    return data[good]


def measure(data: Dataset, seed: int = SEED, repeats: int = REPEATS) -> Structures:
    """Measure real galaxies and synthetic ones like them.

    Parameters
    ----------
    data : Dataset
        From `chosen`.
    seed : int
    repeats : int
        Synthetic galaxies for each.
    """
    parts = [data[k : k + _PIECE] for k in range(0, len(data), _PIECE)]
    real, made = [], []
    with tqdm(total=len(data), desc="structure", unit="galaxy") as bar:
        for number, part in enumerate(parts):
            first, second = _measured(part, seeded(seed, number), repeats)
            real.append(first)
            made.append(second)
            bar.update(len(part))
    joined = ({k: np.concatenate([p[k] for p in kind]) for k in kind[0]} for kind in (real, made))
    return Structures(np.asarray(data.magnitude, dtype=float), *joined)


def _measured(
    data: Dataset, random: torch.Generator, repeats: int
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    seen, observing = observe(upright(data), random)
    fits = sersic_fits(seen, observing)
    known, place = as_fitted(fits, observing, conditions_of(data), DEFAULT_RANGES)
    real = {
        "features": observed_features(seen, observing),
        "power": power_rings(seen, observing, noisy=True),
    }
    features, power = [], []
    for _ in range(repeats):
        stamps = _synthetic(known, place, random)
        through = frame.see(of_equal_flux(stamps, seen, observing), observing.otf)
        noisy = add_noise(through, observing, random) * observing.mask
        features.append(observed_features(noisy, observing))
        power.append(power_rings(noisy, observing, noisy=True))
    return real, {"features": np.stack(features, 1), "power": np.stack(power, 1)}


def _synthetic(known: NDArray, place: NDArray, random: torch.Generator) -> torch.Tensor:
    """Synthetic galaxies of these conditions (n, 4), laid as the real ones lie."""
    conditions = torch.from_numpy(known).float()
    z = NAMES.index("redshift")
    drawn = population.redshifts(conditions[:, NAMES.index("magnitude")], random)
    conditions[:, z] = torch.where(conditions[:, z].isnan(), drawn, conditions[:, z])
    stamps = synthetic.sample(conditions, random, colour_table(), frame=UPRIGHT).stamps
    whole = frame.canonical(stamps, frame.truth(stamps), torch.zeros(len(stamps)))
    back = torch.from_numpy(np.linalg.inv(place)).float()
    return frame.resample(whole, back, torch.zeros(len(stamps), 2))


def compare(found: Structures) -> Table:
    """Return the medians of both kinds, at all magnitudes and in intervals.

    Parameters
    ----------
    found : Structures
        From `measure`.

    Returns
    -------
    Table
        quantity, low, high (F814W), n (real galaxies that have it), real, synthetic (medians),
        difference, error. Of power at so many cycles a stamp, the difference is the synthetic
        galaxies' over the real ones', less 1.
    """
    intervals = [(_EDGES[0], _EDGES[-1]), *zip(_EDGES[:-1], _EDGES[1:], strict=True)]
    lines = []
    for low, high in intervals:
        rows = (found.magnitude >= low) & (found.magnitude < high)
        for name in _COLUMNS:
            k = FEATURES.index(name)
            pair = found.real["features"][rows, k], found.made["features"][rows, :, k]
            lines += _line(name, low, high, *pair, _less)
        for ring in _RINGS:
            real = found.real["power"][rows, ring - 1]
            made = found.made["power"][rows, :, ring - 1]
            lines += _line(f"power at {ring} cycles", low, high, real, made, _over)
    names = ("quantity", "low", "high", "n", "real", "synthetic", "difference", "error")
    table = Table(rows=lines, names=names)
    for name in names[4:]:
        table[name].info.format = ".3g"
    return table


def _pairs(real: NDArray, made: NDArray) -> tuple[NDArray, NDArray]:
    """Real galaxies (n,) and each of theirs (n, repeats), where both are known."""
    real = np.broadcast_to(real[:, None], made.shape)
    known = np.isfinite(real) & np.isfinite(made)
    return real[known], made[known]


def _less(real: NDArray, made: NDArray) -> float:
    real, made = _pairs(real, made)
    return float(np.median(made) - np.median(real))


def _over(real: NDArray, made: NDArray) -> float:
    real, made = _pairs(real, made)
    return float(np.median(made) / np.median(real) - 1)


def _line(name: str, low: float, high: float, real: NDArray, made: NDArray, statistic) -> list:
    """One line of the table, none if few galaxies have the quantity."""
    good = np.isfinite(real) & np.isfinite(made).any(1)
    if good.sum() < _FEWEST:
        return []
    real, made = real[good], made[good]
    error = bootstrap_error(statistic, real, made, random=np.random.default_rng(SEED))
    medians = [float(np.median(values)) for values in _pairs(real, made)]
    return [(name, low, high, int(good.sum()), *medians,
             statistic(real, made), float(error))]  # fmt: skip


def write(folder: Path, table: Table, found: Structures) -> None:
    """Write population_structure.ecsv and .png."""
    write_whole(folder / "population_structure.ecsv", table.write)
    figure = _figure(found)
    path = folder / "population_structure.png"
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))


def _figure(found: Structures) -> Figure:
    """Distributions of the features, and the ratio of median powers."""
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    axes = list(figure.subplots(3, 4).flat)
    for axis, name in zip(axes, _COLUMNS, strict=False):
        k = FEATURES.index(name)
        axis.set(xlabel=name, yticks=[])
        real = found.real["features"][:, k]
        real = real[np.isfinite(real)]
        if len(real) < _FEWEST:
            continue
        low, high = np.percentile(real, (2, 98))
        edges = np.linspace(low - 0.2 * (high - low), high + 0.2 * (high - low), 25).tolist()
        made = found.made["features"][..., k].ravel()
        for values, label, colour in (real, "real", "black"), (made, "synthetic", "tab:orange"):
            axis.hist(values, edges, density=True, histtype="step", color=colour, label=label)
    axes[0].legend(fontsize=8)
    axis = axes[len(_COLUMNS)]
    made = found.made["power"]
    real = found.real["power"].repeat(made.shape[1], 0)
    axis.plot(1 + np.arange(made.shape[2]), power_ratio(real, made.reshape(-1, made.shape[2])))
    axis.axhline(1, color="0.5", lw=0.5)
    axis.set(xlabel="cycles a stamp", ylabel="power, synthetic over real", xlim=(0, 24))
    for axis in axes[len(_COLUMNS) + 1 :]:
        axis.set_axis_off()
    return figure
