"""From survey data to one training file: measure, reject, bring to the canonical frame, write.

Each chunk of each reader becomes a part file in a folder beside the output. What is there when a
run starts is not made again; when all parts are there they are joined and the folder goes.
"""

import hashlib
import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.files import write_whole
from galsim_vae.frame import canonical as frame
from galsim_vae.plots import colour_image
from galsim_vae.train import training_file as dataset
from galsim_vae.train.apertures import MIN_COVER, shown
from galsim_vae.train.failures import failure
from galsim_vae.train.readers.detection import mask_neighbours
from galsim_vae.train.readers.source import Reader, Source

from .reject import blended, covered, reject
from .same import held_out

__all__ = ["galaxy_row", "in_frame", "ingest", "measured", "parts_folder"]

logger = logging.getLogger(__name__)

# Part of the name of a run: parts made by other rules are not joined.
RULES = 3


def parts_folder(output) -> Path:
    """Folder in which an unfinished run keeps its parts."""
    return Path(f"{output}.parts")


def ingest(
    readers: Sequence[Reader],
    output,
    seed: int = 20240229,
    recipe: str = "",
    same: list[tuple[tuple[str, int], tuple[str, int]]] | None = None,
    canonical_frame: frame.Frame = frame.DEFAULT,
) -> Counter:
    """Write one training file from all galaxies that the readers find.

    Interrupted, it goes on with the chunk that it was at when called again with the same readers.

    Parameters
    ----------
    readers : sequence of Reader
        With different names.
    output : str or Path
        HDF5 file to write.
    seed : int, optional
        Names a run; parts made with another one are refused.
    recipe : str, optional
        Text that describes the readers; parts made from another one are refused.
    same : list, optional
        Pairs of stamps that show one galaxy and that no positions tell of, from `same.read_pairs`.
    canonical_frame : Frame
        That galaxies are brought to.

    Returns
    -------
    Counter
        Number of galaxies by (source name, reason or '').

    Raises
    ------
    galsim.GalSimError, OSError
        From `Reader.check`, before any work starts.
    galsim.GalSimConfigError
        Two readers with one name, or parts of another recipe.
    galsim.GalSimValueError
        No galaxy was accepted.
    """
    names = [reader.name for reader in readers]
    if len(set(names)) < len(names):
        raise galsim.GalSimConfigError(f"Give each input its own name, not {names}")
    for reader in readers:
        reader.check()
    folder = _open_parts(output, json.dumps([RULES, seed, recipe, names, canonical_frame.name]))
    chunks = [(reader, k) for reader in readers for k in range(len(reader))]
    counts: Counter = Counter()
    quiet = not logger.isEnabledFor(logging.WARNING)
    with tqdm(chunks, unit="chunk", mininterval=1, disable=quiet) as bar:
        for reader, k in bar:
            part = folder / f"{reader.name}.{k:06d}.h5"
            if not part.exists():
                _make_part(reader, k, part, seed, canonical_frame)
            counts += _count(part)
            taken = sum(n for (_, reason), n in counts.items() if not reason)
            bar.set_postfix_str(f"{reader.name}: {taken} of {counts.total()} galaxies taken")
    if not any(n for (_, reason), n in counts.items() if not reason):
        raise galsim.GalSimValueError(
            f"No galaxy was accepted; see {folder}", dict(Counter(r for _, r in counts))
        )
    _join(readers, chunks, folder, output, same, canonical_frame)
    shutil.rmtree(folder)
    return counts


def _open_parts(output, recipe: str) -> Path:
    """Make the folder of the parts, or check that it belongs to this run."""
    folder = parts_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "recipe"
    name = hashlib.sha256(recipe.encode()).hexdigest()
    if not note.exists():
        write_whole(note, lambda temporary: temporary.write_text(name))
    elif note.read_text() != name:
        raise galsim.GalSimConfigError(
            f"{folder} is left from a run with another configuration: remove it, or give another "
            "output"
        )
    return folder


def _make_part(
    reader: Reader, chunk: int, path: Path, seed: int, canonical_frame: frame.Frame
) -> None:
    """Work on one chunk and write what came of it; `dataset.write` renames it when complete."""
    rows, rejected = [], []
    for source in reader.read(chunk):
        row, reason = galaxy_row(source, seed, canonical_frame)
        if row is None:
            rejected.append(_rejected_row(source, reason))
        else:
            rows.append(row)
    parts = [(_galaxies(rows, canonical_frame), _rejected(rejected))]
    dataset.write(path, parts, band_maps={}, provenance="", frame=canonical_frame)


def _count(part: Path) -> Counter:
    galaxies, rejected = dataset.read_sources(part), dataset.read_rejected(part)
    counts = Counter((str(name), "") for name in galaxies)
    counts.update(zip(rejected.source.tolist(), rejected.reason.tolist(), strict=True))
    return counts


def _join(readers, chunks, folder: Path, output, same, canonical_frame: frame.Frame) -> None:
    """Write the parts as one file, one after the other."""
    parts = [folder / f"{reader.name}.{k:06d}.h5" for reader, k in chunks]
    places = [dataset.read_places(part) for part in parts]
    source, index, ra, dec = (np.concatenate(columns) for columns in zip(*places, strict=True))
    valid = held_out(source, index, ra, dec, same)
    ends = np.cumsum([len(place[0]) for place in places])[:-1]
    maps = {r.name: " ".join(f"{f}>{b}" for f, b in r.filters.items()) for r in readers}
    provenance = " ".join(f"{r.name}: {r.provenance}" for r in readers)
    dataset.write(
        output,
        (
            (replace(dataset.read(part), valid=chosen), dataset.read_rejected(part))
            for part, chosen in zip(parts, np.split(valid, ends), strict=True)
        ),
        band_maps=maps,
        provenance=provenance,
        frame=canonical_frame,
    )


def galaxy_row(
    source: Source, seed: int, canonical_frame: frame.Frame = frame.DEFAULT
) -> tuple[dict | None, str]:
    """Return a row of the training file, or None and why the galaxy is rejected.

    Whatever fails, that galaxy is rejected; see `failures.failure`. The same galaxy gives the same
    row whatever the seed: nothing is drawn at random.
    """
    try:
        return _galaxy_row(source, canonical_frame)
    except Exception as error:
        return None, failure(error)


def _galaxy_row(source: Source, canonical_frame: frame.Frame) -> tuple[dict | None, str]:
    observation, geometry, reason = measured(source, canonical_frame)
    if observation is None or geometry is None or reason:
        return None, reason
    canonical, reason = in_frame(source, observation, geometry)
    if reason:
        return None, reason
    scale = max(geometry.flux.values())
    # A band of which nothing is usable is one that was not observed.
    seen = np.asarray(canonical.mask.any((1, 2)))
    row = {
        "image": canonical.image / scale * seen[:, None, None],
        "psf": canonical.psf * seen[:, None, None],
        "mask": canonical.mask,
        "noise": canonical.noise / scale * seen,
        "noise_area": canonical.noise_area,
        "magnitude": _magnitude(source, geometry),
        "half_light_radius": geometry.half_light_radius if source.sized else math.nan,
        "g": geometry.g,
        "redshift": source.redshift,
        "pixel_scale": canonical.pixel_scale,
        "frame_g": canonical.frame_g,
        "angle": canonical.angle,
        "flux_scale": scale,
        "source": source.name,
        "source_index": source.index,
        "filters": [
            source.filters.get(b, "") if s else "" for b, s in zip(BANDS, seen, strict=True)
        ],
        "identifier": source.identifier,
        "catalogue": source.catalogue,
    }
    numbers = (row["image"], row["psf"], row["noise"], row["g"], row["pixel_scale"], scale)
    if not (scale > 0 and all(np.isfinite(value).all() for value in numbers)):
        return None, "not measurable (not finite)"
    return row, ""


def measured(
    source: Source, canonical_frame: frame.Frame = frame.DEFAULT
) -> tuple[frame.Observation | None, frame.Geometry | None, str]:
    """Mask a galaxy's neighbours and measure it; the last value is why it is rejected, or ''.

    It is measured in a band that shows it whole, if there is one. Bands without noise are left
    out: without it they cannot be weighted.
    """
    observation = source.observation
    if source.reason or observation is None:
        return observation, None, source.reason or "no data"
    try:
        noisy = [band for band, rms in observation.noise.items() if 0 < rms < math.inf]
        if not noisy:
            return observation, None, "no noise"
        if len(noisy) < len(observation.image):
            image = {band: observation.image[band] for band in noisy}
            observation = replace(observation, image=image)
        geometry = _measure(observation, canonical_frame)
        if not source.segment_only:
            mask = mask_neighbours(observation, geometry)
            observation = replace(observation, mask=mask)
            geometry = _measure(observation, canonical_frame)
        return observation, geometry, reject(source, observation, geometry)
    except galsim.GalSimError as error:
        return observation, None, f"not measurable ({type(error).__name__})"
    except Exception as error:
        return observation, None, failure(error)


def _measure(observation: frame.Observation, canonical_frame: frame.Frame) -> frame.Geometry:
    """Measure a galaxy in a band that shows it whole, and its flux in all."""
    geometry = frame.measure(observation, frame=canonical_frame)
    if shown(observation, geometry, geometry.band) >= MIN_COVER:
        return geometry
    whole = [b for b in observation.image if shown(observation, geometry, b) >= MIN_COVER]
    return frame.measure(observation, whole, canonical_frame) if whole else geometry


def in_frame(
    source: Source, observation: frame.Observation, geometry: frame.Geometry
) -> tuple[frame.Canonical, str]:
    """Bring a measured galaxy to the canonical frame, in the bands that show enough of it.

    Returns
    -------
    stamp : Canonical
        In the canonical frame.
    reason : str
        Why it is rejected, or ''.
    """
    canonical = covered(source, frame.to_canonical(observation, geometry), geometry.band)
    return canonical, blended(source, canonical.mask)


def _magnitude(source: Source, geometry: frame.Geometry) -> float:
    """AB magnitude in F814W: the catalogue's, or else that of the flux in F814W itself."""
    if math.isfinite(source.magnitude) or source.filters.get(REFERENCE) != REFERENCE:
        return source.magnitude
    flux = geometry.flux[REFERENCE]
    return source.zeropoint - 2.5 * math.log10(flux) if flux > 0 else math.nan


def _galaxies(rows: list[dict], canonical_frame: frame.Frame) -> dataset.Dataset | None:
    if not rows:
        return None
    columns = {name: np.array([r[name] for r in rows]) for name in rows[0] if name != "catalogue"}
    names = {name: None for row in rows for name in row["catalogue"]}
    extra = {n: np.array([row["catalogue"].get(n, math.nan) for row in rows]) for n in names}
    valid = dataset.is_validation(columns["source_index"])
    return dataset.Dataset(**columns, valid=valid, catalogue=extra, frame=canonical_frame)


def _rejected_row(source: Source, reason: str) -> dict:
    return {
        "source": source.name,
        "source_index": source.index,
        "identifier": source.identifier,
        "reason": reason,
        "picture": _picture_or_none(source),
    }


def _rejected(rows: list[dict]) -> dataset.Rejected | None:
    if not rows:
        return None
    return dataset.Rejected(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def _picture_or_none(source: Source) -> NDArray:
    try:
        return picture(source)
    except Exception as error:
        failure(error)
        return np.zeros((dataset.PICTURE, dataset.PICTURE, 3), np.uint8)


def picture(source: Source) -> NDArray:
    """Native pixels of an object about its centre, as a (64, 64, 3) uint8 picture."""
    side = dataset.PICTURE
    cube = np.zeros((len(BANDS), side, side))
    if source.observation is None:
        return np.zeros((side, side, 3), np.uint8)
    for band, image in source.observation.image.items():
        x, y = (int(round(c)) for c in source.observation.centre[band])
        # Large stamps are thinned out, so that the picture shows about all of them.
        step = max(1, round(max(image.shape) / (2 * side)))
        rows = np.arange(side) * step + y - side * step // 2
        columns = np.arange(side) * step + x - side * step // 2
        inside = np.ix_((rows >= 0) & (rows < image.shape[0]),
                        (columns >= 0) & (columns < image.shape[1]))  # fmt: skip
        cut = np.zeros((side, side))
        cut[inside] = image[np.ix_(np.clip(rows, 0, image.shape[0] - 1),
                                   np.clip(columns, 0, image.shape[1] - 1))][inside]  # fmt: skip
        cube[BANDS.index(band)] = cut
    return (255 * np.nan_to_num(colour_image(cube))).astype(np.uint8)
