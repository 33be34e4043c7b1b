"""BlendingToolKit: blends of our galaxies, in the place of `CatsimCatalog` and `CatsimGenerator`.

`VAEGenerator` keeps BlendingToolKit's interface, samplers, surveys and batches. It goes its own way
from a sampled blend to its images, where BTK 1.0.9 does what a simulation must not. Each point is
worked around here, and tested:

- Its noise and rotations are seeded by mini-batch, so that they depend on ``njobs`` and
  ``batch_size``. Here all of a blend is a function of the seed and of the blend's number.
- Its galaxy noise and background noise have the same seed. Here they are independent.
- ``augment_data`` gives every blend of a mini-batch the same angles, and each survey others. Here
  each galaxy of each blend has an angle of its own, the same in all surveys.
- `PairSampling`, `RandomSquareSampling` and `FriendsOfFriendsSampling` use NumPy's global random
  state. It is seeded for them before each blend, and put back.
- Several surveys at once fail, for a `BlendBatch` lacks the ``survey_name`` that
  `MultiResolutionBlendBatch` asks for. It is set here.
- Samplers that use positions take ra and dec for degrees, whereas blends have them in arcsec. All
  samplers get a table with degrees, as CatSim has, made from the catalogue's arcsec.
"""

from __future__ import annotations

import galsim
import numpy as np
from astropy.table import Row, Table
from btk.blend_batch import BlendBatch, MultiResolutionBlendBatch
from btk.draw_blends import DrawBlendsGenerator
from btk.multiprocess import multiprocess
from btk.sampling_functions import SamplingFunction
from btk.survey import Filter, Survey, make_wcs
from btk.utils import DEFAULT_SEED
from galsim.errors import (
    GalSimIncompatibleValuesError,
    GalSimRangeError,
    GalSimValueError,
)
from surveycodex.utilities import mag2counts, mean_sky_level
from tqdm.auto import tqdm

from galsim_vae.filters import find_filter, within_reach
from galsim_vae.filters.bandpass import warned_already
from galsim_vae.geometry import rotation_matrix, shear_matrix
from galsim_vae.stamps import Stamps

from .camera import BlendScene, draw_blends, draw_isolated, find_camera
from .catalog import VAECatalog
from .sampling import BlendSampler, seeds

__all__ = ["VAEGenerator"]


class VAEGenerator(DrawBlendsGenerator):
    """Batches of blends of the galaxies of a `VAECatalog`.

    A galaxy is the same in all bands and surveys. Its flux in each isolated image is
    ``mag2counts`` of the ``<filter>_ab`` in the batch's ``catalog_list``, which are those of the
    batch's own survey (LSST r and HSC r are two filters), less what falls off the image.

    Parameters
    ----------
    catalog : VAECatalog
        The galaxies.
    sampling_function : btk.sampling_functions.SamplingFunction
        Its blends are tables of rows of the catalogue; what it changes in ra, dec and
        ``<filter>_ab``, and g1 and g2 that it adds, is what is drawn.
    surveys : btk.survey.Survey, or list of these
        One batch of images each.
    batch_size : int
        Blends in a batch.
    njobs : int
        Processes that draw. Galaxies are decoded in the parent, in one call a batch.
    verbose, use_bar : bool
        As in BTK.
    add_noise : {"all", "background", "galaxy", "none"}
        Photon noise of the sky, of the galaxies, of both, or none.
    seed : int
        Of noise, rotations and of what samplers leave to NumPy's global state.
    apply_shear : bool
        Shear each galaxy by the g1 and g2 of its row in the blend.
    augment_data : bool
        Rotate each galaxy by a random angle, stored as ``btk_rotation`` (degrees).

    Raises
    ------
    galsim.GalSimValueError
        A catalogue of another class; filters that the HST bands do not reach or of unknown
        throughput; two surveys of one name. From ``next``: a blend table without needed columns.
    galsim.GalSimRangeError
        A batch size or number of jobs below 1. From ``next``: a blend of more or fewer galaxies
        than its sampler allows; a galaxy that is larger than the image.
    galsim.GalSimError
        From ``next``: the sampler found no galaxy to choose from.

    Notes
    -----
    A blend may be empty if the sampler says ``min_number = 0``: it is an image of the sky.
    Magnitudes become whole electrons (BTK's ``mag2counts``), and a galaxy with none has a 1 in
    ``not_drawn_<filter>``. In isolated images pixels below zero, some 1e-6 of the peak, are set to
    zero, since BTK's metrics refuse negative ones.
    """

    compatible_catalogs = ("VAECatalog",)

    def __init__(
        self,
        catalog: VAECatalog,
        sampling_function: SamplingFunction,
        surveys: list[Survey] | Survey,
        batch_size: int = 8,
        njobs: int = 1,
        verbose: bool = False,
        use_bar: bool = False,
        add_noise: str = "all",
        seed: int = DEFAULT_SEED,
        apply_shear: bool = False,
        augment_data: bool = False,
    ):
        for name, value in (("batch_size", batch_size), ("njobs", njobs)):
            if value < 1:
                raise GalSimRangeError(f"{name} must be at least 1", value, 1)
        if not isinstance(catalog, VAECatalog):
            kind = type(catalog).__name__
            raise GalSimValueError("catalog is of the wrong class", kind, self.compatible_catalogs)
        super().__init__(
            catalog, sampling_function, surveys, batch_size, njobs, verbose, use_bar, add_noise,
            seed, apply_shear, augment_data,
        )  # fmt: skip
        self._seed = self.seedseq.entropy
        self.blend_generator = BlendSampler(
            catalog, sampling_function, batch_size, verbose, self._seed
        )

    def __next__(self) -> BlendBatch | MultiResolutionBlendBatch:
        """Draw the next batch."""
        first = self.blend_generator.number
        numbers = range(first, first + self.batch_size)
        blends = next(self.blend_generator)
        for number, blend in zip(numbers, blends, strict=True):
            self._check(blend)
            blend["btk_rotation"] = self._angles(number, len(blend))
        ids = np.unique(np.concatenate([np.asarray(blend["id"]) for blend in blends]))
        # With no galaxy at all there is nothing to decode, and networks want a row.
        stamps = self.catalog.stamps(ids if len(ids) else self.catalog.table["id"][:1])
        batches = [
            self._observe(survey, blends, numbers, stamps, ids) for survey in self.surveys.values()
        ]
        return batches[0] if len(batches) == 1 else MultiResolutionBlendBatch(batches)

    def render_single(self, entry: Row, filt: Filter, psf: galsim.GSObject, survey: Survey):
        """Draw one galaxy of a blend in one filter, as `__next__` does.

        Parameters
        ----------
        entry : Row
            Of a blend's table.
        filt : btk.survey.Filter
            Of the survey.
        psf : galsim.GSObject
            Of the filter.
        survey : btk.survey.Survey
            Its pixels are drawn.

        Returns
        -------
        galsim.Image
            Without noise.
        """
        blend = Table(entry)
        if "btk_rotation" not in blend.colnames:
            blend["btk_rotation"] = 0.0
        stamps = self.catalog.stamps(np.asarray(blend["id"]))
        scene = self._scene(blend, stamps, np.array([0]), survey, [filt], 0)
        camera = find_camera(psf, *self._grid(survey))
        array = draw_isolated(scene, [camera])[0, 0]
        return galsim.Image(array, scale=survey.pixel_scale.to_value("arcsec"))

    def _set_surveys(self, surveys) -> None:
        super()._set_surveys(surveys)
        # BTK keeps surveys by name, and would drop the first of two.
        if not isinstance(surveys, Survey) and len(self.surveys) < len(surveys):
            names = [survey.name for survey in surveys]
            raise GalSimValueError("Two surveys have the same name; rename one", names)

    def _check_compatibility(self, survey: Survey) -> None:
        extrapolate = self.catalog.extrapolate
        filters = {name: find_filter(survey.name, name) for name in survey.available_filters}
        far = [name for name, band in filters.items() if not within_reach(band, extrapolate)]
        if far:
            near = [name for name in filters if name not in far]
            blue = [name for name in far if within_reach(filters[name], True)]
            raise GalSimValueError(
                f"The HST bands do not reach these filters of survey {survey.name}. Leave them out "
                f"(survey.available_filters = {near})"
                + (f", or make the catalogue with extrapolate=True for {blue}." if blue else "."),
                far,
                near,
            )

    def _check(self, blend: Table) -> None:
        """Check that a blend can be drawn."""
        names = {filt for survey in self.surveys.values() for filt in survey.available_filters}
        known = [f"{n}_ab" for n in names if f"{n}_ab" in self.catalog.table.colnames]
        missing = [n for n in ("id", "ra", "dec", *known) if n not in blend.colnames]
        if missing:
            raise GalSimValueError("The sampler's blend table lacks columns", missing)
        if self.apply_shear and not {"g1", "g2"} <= set(blend.colnames):
            raise GalSimIncompatibleValuesError(
                "apply_shear needs a sampler that adds the shear as columns g1 and g2, such as "
                "DefaultSamplingShear",
                columns=blend.colnames,
            )
        _check_numbers(blend, known, ("ra", "dec", *(("g1", "g2") if self.apply_shear else ())))
        rows = self.catalog.rows(np.asarray(blend["id"]))
        major = 2 * np.asarray(self.catalog.table["a_d"])[rows]
        if (major > self.stamp_size).any():
            worst = int(np.argmax(major))
            raise GalSimRangeError(
                f"Galaxy {blend['id'][worst]} is larger than the image: the major axis of its "
                "half-light ellipse, arcsec, is too long for the sampler's stamp_size",
                float(major[worst]),
                0,
                self.stamp_size,
            )

    def _angles(self, number: int, n: int) -> np.ndarray:
        """Rotations, degrees, of the n galaxies of a blend."""
        if not self.augment_data:
            return np.zeros(n)
        return np.random.default_rng(seeds(self._seed, number, "rotation")).uniform(0, 360, n)

    def _grid(self, survey: Survey) -> tuple[float, int]:
        return survey.pixel_scale.to_value("arcsec"), self._get_pix_stamp_size(survey)

    def _observe(
        self, survey: Survey, blends: list[Table], numbers: range, stamps: Stamps, ids: np.ndarray
    ) -> BlendBatch:
        """Draw all blends as one survey sees them."""
        filters = [survey.get_filter(name) for name in survey.available_filters]
        scale, size = self._grid(survey)
        psf = self._get_psf_from_survey(survey)
        cameras = [find_camera(p, scale, size) for p in psf]
        tables = [
            self._as_seen_by(survey, blend, make_wcs(scale, (size, size))) for blend in blends
        ]
        scenes = [
            self._scene(table, stamps, np.searchsorted(ids, table["id"]), survey, filters, number)
            for table, number in zip(tables, numbers, strict=True)
        ]
        # One part a process: each has the cameras sent to it once.
        step = 1 if self.njobs == 1 else -(-len(scenes) // self.njobs)
        parts = [(scenes[i : i + step], cameras) for i in range(0, len(scenes), step)]
        bar = tqdm(parts, desc=f"Generating blends for {survey.name}", disable=not self.use_bar)
        drawn = sum(multiprocess(draw_blends, bar, njobs=self.njobs, verbose=self.verbose), [])
        isolated = np.zeros((self.batch_size, self.max_number, len(filters), size, size))
        for row, (_, alone) in zip(isolated, drawn, strict=True):
            row[: len(alone)] = alone
        batch = BlendBatch(
            self.batch_size, self.max_number, self.stamp_size, survey,
            np.array([blend for blend, _ in drawn]), isolated, tables, psf,
        )  # fmt: skip
        batch.survey_name = survey.name
        return batch

    def _as_seen_by(self, survey: Survey, blend: Table, wcs) -> Table:
        """The table of a blend with pixel positions, and the survey's own magnitudes."""
        table, catalog = blend.copy(), self.catalog.table
        rows = self.catalog.rows(np.asarray(blend["id"]))
        degrees = (np.asarray(table[name]) / 3600 for name in ("ra", "dec"))
        table["x_peak"], table["y_peak"] = wcs.world_to_pixel_values(*degrees)
        for name in survey.available_filters:
            magnitude = np.asarray(table[f"{name}_ab"], dtype=float)
            if f"{survey.name}_{name}" in catalog.colnames:
                own = np.asarray(catalog[f"{survey.name}_{name}"])[rows]
                shared = np.asarray(catalog[f"{name}_ab"])[rows]
                magnitude = _changed_alike(own, shared, magnitude)
            table[f"{name}_ab"] = magnitude
        return table

    def _scene(
        self, blend: Table, stamps: Stamps, rows: np.ndarray, survey: Survey, filters, number: int
    ) -> BlendScene:
        """Everything that a process needs to draw one blend; adds not_drawn_<filter> to it."""
        bands = [find_filter(survey.name, filt.name) for filt in filters]
        images = np.zeros((len(blend), len(bands), *stamps.array.shape[2:]), np.float32)
        with warned_already():
            for i, row in enumerate(rows):
                for k, band in enumerate(bands):
                    images[i, k] = stamps.image(row, band, self.catalog.extrapolate)
        magnitudes = np.array([blend[f"{filt.name}_ab"] for filt in filters], dtype=float)
        for k, filt in enumerate(filters):
            counts = _electrons(magnitudes[k], survey, filt, blend["id"])
            light = images[:, k].sum(axis=(1, 2))
            drawn = (counts > 0) & (light > 0)
            blend[f"not_drawn_{filt.name}"] = (~drawn).astype(float)
            images[:, k] *= np.divide(counts, light, out=np.zeros_like(counts), where=drawn)[
                :, None, None
            ]
        sky = [mean_sky_level(survey, filt).to_value("electron") for filt in filters]
        return BlendScene(
            images,
            self._shears(blend) @ stamps.jacobian[rows],
            stamps.offset[rows],
            np.stack([blend["ra"], blend["dec"]], axis=1).astype(float),
            np.array(sky),
            (self.add_noise in ("all", "galaxy"), self.add_noise in ("all", "background")),
            [self._noise_seeds(number, survey.name, filt.name) for filt in filters],
        )

    def _shears(self, blend: Table) -> np.ndarray:
        """Rotation, then shear, of each galaxy: (n, 2, 2)."""
        angle = np.radians(np.asarray(blend["btk_rotation"], dtype=float))
        turn = rotation_matrix(angle)
        if not self.apply_shear:
            return turn
        return shear_matrix(blend["g1"], blend["g2"]) @ turn

    def _noise_seeds(self, number: int, survey: str, name: str) -> tuple[int, int]:
        """Seeds of the noise of galaxies and of the sky. GalSim has another meaning for 0."""
        sequence = seeds(self._seed, number, "noise", survey, name)
        galaxy, sky = sequence.generate_state(2)
        return max(int(galaxy), 1), max(int(sky), 1)


def _check_numbers(blend: Table, magnitudes: list[str], others: tuple[str, ...]) -> None:
    """Check that what a sampler gives is numbers; a magnitude may be inf: no light."""
    for name in (*magnitudes, *others):
        values = np.ma.filled(np.ma.asarray(blend[name]).astype(float), np.nan)
        good = values > -np.inf if name in magnitudes else np.isfinite(values)
        if not good.all():
            row = int(np.argmin(good))
            raise GalSimValueError(
                f"Column {name} of the sampler's blend has no number for galaxy id "
                f"{blend['id'][row]}. Mend the sampler, or what it makes this column from. The "
                "value is",
                float(values[row]),
            )


def _changed_alike(own: np.ndarray, shared: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """A survey's own magnitudes, changed as the sampler changed those that surveys share.

    A galaxy that is dark in the shared filter (inf) has the sampler's, if it gave it light.
    """
    dark = np.isinf(shared)
    changed = own + (sampled - np.where(dark, 0.0, shared))
    return np.where(dark, np.where(np.isinf(sampled), own, sampled), changed)


def _electrons(magnitudes: np.ndarray, survey: Survey, filt: Filter, ids) -> np.ndarray:
    """BTK's `mag2counts`, (n,): whole electrons."""
    with np.errstate(invalid="ignore"):  # Its integers may overflow.
        counts = mag2counts(magnitudes, survey, filt).to_value("electron")
    if (counts < 0).any():
        row = int(np.argmin(counts))
        raise GalSimRangeError(
            f"Galaxy id {ids[row]} has more electrons in {survey.name} {filt.name} than an integer "
            "holds. Change the magnitude that the sampler gives, or the exposure time. The "
            "magnitude is",
            float(magnitudes[row]),
            None,
        )
    return counts.astype(float)
