"""One galaxy in two surveys: are its latents the same?

The configuration of an ingest names readers; galaxies that two of its stamps show are found by
their positions and by its table `same`. What is asked is how far apart the two stamps of a galaxy
are, over how far apart stamps of different galaxies are. The sharper stamp gives size and
ellipticity of the frame; each has its own centre and position angle. Surveys may be mirrored, and
an angle says nothing of up and down, so the nearest of the four mirror images counts, of strangers
too.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.table import Table
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm import tqdm

from galsim_vae.bands import BANDS, REFERENCE, STAMP_SIZE
from galsim_vae.frame import canonical as frame
from galsim_vae.model.batches import in_batches
from galsim_vae.model.vae import VAE
from galsim_vae.plots import contact_sheet
from galsim_vae.train.fit.batch import APERTURE_AREA, INFERENCE, Batch
from galsim_vae.train.ingest.run import measured
from galsim_vae.train.ingest.same import near_pairs
from galsim_vae.train.readers.source import Reader, Source
from galsim_vae.train.statistics import bootstrap_error

__all__ = ["Pair", "compare", "distances", "draw", "find", "ratio", "resolved"]

#: Signal-to-noise ratio that is stated of all galaxies where their own noise is not given.
NOMINAL = 200.0
#: A stamp is resolved whose half-light radius is at least that of its PSF.
RESOLVED = 0.5**0.5
_FEWEST = 3
# Positions of one galaxy agree to this [arcsec]: farther apart may be its companion.
_RADIUS = 0.3
_PART, _CPU = 32, torch.device("cpu")
# Of decoded stamps: where the asinh stretch turns logarithmic, in units of the mean pixel.
_SOFTENING = 3.0


@dataclass(frozen=True)
class Pair:
    """Two stamps of one galaxy.

    Attributes
    ----------
    names : (str, str)
        Of the readers, the sharper stamp's first.
    rows : (int, int)
        Numbers of the stamps in the check; a galaxy may be in several pairs.
    stamps : (Canonical, Canonical)
        In one frame.
    is_resolved : bool
        The PSFs of both resolve it.
    """

    names: tuple[str, str]
    rows: tuple[int, int]
    stamps: tuple[frame.Canonical, frame.Canonical]
    is_resolved: bool


def resolved(geometry: frame.Geometry) -> float:
    """Half-light radius over what it was before the correction for the PSF."""
    return geometry.half_light_radius / geometry.observed_half_light_radius


def find(
    readers: Iterable[Reader], same: Sequence[tuple[tuple[str, int], tuple[str, int]]],
    canonical_frame: frame.Frame,
) -> list[Pair]:  # fmt: skip
    """Find the galaxies of which there are two stamps, and bring both to one frame.

    Parameters
    ----------
    readers : iterable of Reader
    same : sequence of pairs of (source, source_index)
        See `galsim_vae.train.ingest.same.read_pairs`. Stamps of two readers that are within 0.3
        arcsec of each other are found without.
    canonical_frame : Frame
        Of the weights.
    """
    seen: list[tuple[Source, frame.Observation, frame.Geometry]] = []
    sources = (s for reader in readers for k in range(len(reader)) for s in reader.read(k))
    for source in tqdm(sources, "stamps", unit="stamp"):
        observation, geometry, reason = measured(source, canonical_frame)
        if observation is not None and geometry is not None and not reason:
            seen.append((source, observation, geometry))
    row = {(source.name, source.index): k for k, (source, _, _) in enumerate(seen)}
    listed = [(row[a], row[b]) for a, b in same if a in row and b in row]
    places = ([s.catalogue.get(name, np.nan) for s, _, _ in seen] for name in ("ra", "dec"))
    near = [(int(a), int(b)) for a, b in near_pairs(*places, radius=_RADIUS)]
    near = [(a, b) for a, b in near if seen[a][0].name != seen[b][0].name]
    found = []
    for pair in sorted({(min(p), max(p)) for p in [*listed, *near]}):
        a, b = sorted(pair, key=lambda k: -resolved(seen[k][2]))
        (one, first, own), (other, second, theirs) = seen[a], seen[b]
        as_one = replace(own, centroid=theirs.centroid, angle=theirs.angle)
        stamps = (frame.to_canonical(first, own), frame.to_canonical(second, as_one))
        both = min(resolved(own), resolved(theirs)) >= RESOLVED
        found.append(Pair((one.name, other.name), (a, b), stamps, both))
    return found


def distances(first: NDArray, second: NDArray) -> NDArray:
    """Distances (m, m) of vectors (m, count) from the nearest of four images (4, m, count)."""
    gap = first[None, :, None] - second[:, None]
    return np.sqrt(np.square(gap).sum(-1)).min(0)


def ratio(distance: NDArray, galaxy: NDArray) -> tuple[float, float, float]:
    """Median distance of the same galaxy, that of strangers, and the error of their ratio.

    Parameters
    ----------
    distance : ndarray (m, m)
        Of first stamps (rows) from second ones; pairs are on the diagonal.
    galaxy : ndarray (m,) int
        Which one each pair shows.

    Returns
    -------
    same, strangers, error : float
        By a bootstrap of the pairs.
    """

    def medians(rows: NDArray) -> tuple[float, float]:
        part = distance[np.ix_(rows, rows)]
        other = galaxy[rows][:, None] != galaxy[rows]
        return float(np.median(np.diag(part))), float(np.median(part[other]))

    def quotient(rows: NDArray) -> float:
        while len(np.unique(galaxy[rows])) < 2:  # no strangers were drawn
            rows = random.integers(len(distance), size=len(rows))
        same, strangers = medians(rows)
        return same / strangers

    rows, random = np.arange(len(distance)), np.random.default_rng(1)
    same, strangers = medians(rows)
    return same, strangers, float(bootstrap_error(quotient, rows, random=random))


def compare(vae: VAE, pairs: Sequence[Pair]) -> Table:
    """Measure each two readers with at least three galaxies in common, and all together.

    Parameters
    ----------
    vae : VAE
    pairs : sequence of Pair

    Returns
    -------
    Table
        Columns ``surveys``, ``resolved`` (by both, or all), ``pairs``, ``given`` (PSF and noise, or
        a point and one signal-to-noise ratio for all), and, of ``latents`` and of what they
        are decoded to (asinh-stretched), the distance of the same galaxy, of strangers, their ratio
        and its error.

    Raises
    ------
    galsim.GalSimValueError
        There are fewer than three galaxies.
    """
    kinds = ("latents", "decoded")
    columns = [f"{kind}_{name}" for kind in kinds for name in ("same", "strangers", "ratio",
                                                               "error")]  # fmt: skip
    table = Table(
        names=["surveys", "resolved", "pairs", "given", *columns],
        dtype=["U64", "U4", int, "U8", *([float] * len(columns))],
    )
    galaxy = _galaxies(pairs)
    sets = _sets(pairs)
    if not sets:
        raise GalSimValueError(f"Fewer than {_FEWEST} galaxies are in two surveys", len(pairs))
    for given, words in ((True, "yes"), (False, "no")):
        spaces = _spaces(vae, pairs, given)
        for (surveys, clear), rows in sets.items():
            line: list = [surveys, clear, len(rows), words]
            for first, second in spaces:
                distance = distances(first[rows], second[:, rows])
                same, strangers, error = ratio(distance, galaxy[rows])
                line += [same, strangers, same / strangers, error]
            table.add_row(line)
    for name in columns:
        table[name].format = ".3g"
    return table


def _sets(pairs: Sequence[Pair]) -> dict[tuple[str, str], NDArray]:
    """Rows of each two readers and of all, those that both resolve and all of them."""
    names = np.array([" and ".join(dict.fromkeys(pair.names)) for pair in pairs])
    clear = np.array([pair.is_resolved for pair in pairs], bool)
    galaxy, found = _galaxies(pairs), {}
    for surveys in [*(n for n, _ in Counter(names.tolist()).most_common()), "all"]:
        own = (names == surveys) | (surveys == "all")
        for label, kept in (("both", own & clear), ("any", own)):
            rows = np.flatnonzero(kept)
            again = label == "any" and not (own & ~clear).any()
            if len(np.unique(galaxy[rows])) >= _FEWEST and not again:
                found[surveys, label] = rows
    return found


def _galaxies(pairs: Sequence[Pair]) -> NDArray:
    """Which galaxy each pair shows (m,): stamps that are linked show the same."""
    if not pairs:
        return np.zeros(0, int)
    rows = np.array([pair.rows for pair in pairs])
    n = int(rows.max()) + 1
    graph = coo_array((np.ones(len(rows)), rows.T), shape=(n, n))
    return connected_components(graph, directed=False)[1][rows[:, 0]]


def draw(vae: VAE, pairs: Sequence[Pair], path: str | os.PathLike, most: int = 16) -> None:
    """Draw pairs in the frame and what their latents decode to, a column a pair.

    Parameters
    ----------
    vae : VAE
    pairs : sequence of Pair
        Those that both surveys resolve are shown first.
    path : str or path
        Of the PNG.
    most : int
        Pairs that are drawn.
    """
    shown = sorted(pairs, key=lambda pair: not pair.is_resolved)[:most]
    rows: list[list[NDArray]] = []
    for k in (0, 1):
        rows.append([_picture(_shown_band(pair.stamps[k])) for pair in shown])
    for k in (0, 1):
        latents = _encoded(vae, _batch([pair.stamps[k] for pair in shown], True))
        bands = [_brightest(pair.stamps[k]) for pair in shown]
        decoded = _decoded(vae, latents)
        rows.append([_picture(stamp[b]) for stamp, b in zip(decoded, bands, strict=True)])
    captions = [pair.names[k] for k in (0, 1) for pair in shown]
    contact_sheet(rows, path, captions=captions)


def _brightest(stamp: frame.Canonical) -> int:
    """Index of the band in which a stamp has most light over its noise."""
    noise = np.where(stamp.noise > 0, stamp.noise, np.inf)
    return int(np.argmax((stamp.image * stamp.mask).sum(axis=(1, 2)) / noise))


def _shown_band(stamp: frame.Canonical) -> NDArray:
    band = _brightest(stamp)
    return stamp.image[band] * stamp.mask[band]


def _picture(image: NDArray) -> NDArray:
    peak = max(float(np.percentile(image, 99.8)), 1e-12)
    return np.clip(np.arcsinh(20 * image / peak) / np.arcsinh(20), 0, 1)


def _spaces(vae: VAE, pairs: Sequence[Pair], given: bool) -> list[tuple[NDArray, NDArray]]:
    """Latents, and decoded stamps, of first stamps (m, count) and four images of second ones."""
    first = _encoded(vae, _batch([pair.stamps[0] for pair in pairs], given))
    other = _batch([pair.stamps[1] for pair in pairs], given)
    second = torch.stack([_encoded(vae, image) for image in _images(other)])
    decoded = np.stack([_stretched(_decoded(vae, part)) for part in second])
    return [(first.numpy(), second.numpy()), (_stretched(_decoded(vae, first)), decoded)]


def _batch(stamps: Sequence[frame.Canonical], given: bool) -> Batch:
    """Stamps as the encoder is shown them, with their PSF and noise or with nominal ones."""
    image, psf, noise, area, mask = (
        np.stack([getattr(stamp, name) for stamp in stamps])
        for name in ("image", "psf", "noise", "noise_area", "mask")
    )
    seen = np.asarray(mask.any((2, 3)))
    if not given:
        psf = np.zeros_like(psf)
        psf[:, :, STAMP_SIZE // 2, STAMP_SIZE // 2] = 1
    batch = Batch.from_arrays(
        image, psf * seen[:, :, None, None], noise * seen, area, mask, INFERENCE
    )
    if given:
        return batch
    nominal = torch.full_like(batch.noise, 1 / (NOMINAL * APERTURE_AREA**0.5))
    return batch._replace(noise=nominal * torch.from_numpy(seen), noise_area=0 * batch.noise + 1)


def _images(batch: Batch) -> list[Batch]:
    """The four mirror images of a batch; transforms of PSFs are of the origin at [0, 0]."""
    found = [batch]
    for axis in (2, 3):
        for one in list(found):
            psf = torch.fft.irfft2(one.otf, s=(STAMP_SIZE, STAMP_SIZE))
            otf = torch.fft.rfft2(psf.flip(axis).roll(1, axis))
            found.append(
                one._replace(image=one.image.flip(axis), mask=one.mask.flip(axis), otf=otf)
            )
    return found


def _encoded(vae: VAE, batch: Batch) -> Tensor:
    return in_batches(
        vae.encode, _PART, _CPU, batch.image, batch.otf, batch.noise, batch.mask
    )[0]  # fmt: skip


def _decoded(vae: VAE, latents: Tensor) -> NDArray:
    return in_batches(lambda part: (vae.decoder(part),), _PART, _CPU, latents)[0].numpy()


def _stretched(stamps: NDArray) -> NDArray:
    """Decoded F814W stamps as vectors (m, pixels), bright and faint parts alike."""
    light = stamps[:, BANDS.index(REFERENCE)].reshape(len(stamps), -1)
    return np.arcsinh(light / (_SOFTENING * light.mean(1, keepdims=True)))
