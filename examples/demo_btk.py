"""demo_btk: the same blends as LSST, Euclid and HST see them, and what SEP finds in them.

- Draw a catalogue from the population that the weights learnt.
- Draw blends in LSST ugrizy, Euclid VIS and COSMOS F814W at once.
- Run BlendingToolKit's SEP deblender on the LSST images, and match what it finds to the truth.
- Do the same with galaxies of a CatSim file, if one is given, and with scarlet, if it is installed.

Run it from the top of the repository:   python examples/demo_btk.py [catsim_file]
It writes examples/output/demo_btk.png and examples/output/demo_btk_galaxies.fits.
"""

import importlib.util
import logging
import os
import sys

import matplotlib

matplotlib.use("Agg")

import btk
import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import make_lupton_rgb
from btk.sampling_functions import DefaultSampling
from btk.survey import get_surveys
from surveycodex.utilities import mean_sky_level

import galsim_vae
from galsim_vae.blending import VAECatalog, VAEGenerator

SEED = 1234
NOBJECTS = 600
BATCH_SIZE, NBATCHES = 10, 10
MAX_NUMBER = 4
STAMP_SIZE = 12.0  # arcsec
BAND = 3  # LSST i
OUTPUT = os.path.join("examples", "output", "demo_btk.png")
GALAXIES = os.path.join("examples", "output", "demo_btk_galaxies.fits")


def sampler(**kwargs) -> DefaultSampling:
    """Two to four galaxies of i < 25.3 near the middle of a stamp: BTK's own."""
    return DefaultSampling(STAMP_SIZE, MAX_NUMBER, min_number=2, max_shift=3.0, seed=SEED, **kwargs)


def deblenders() -> list[btk.deblend.Deblender]:
    """SEP, and scarlet if it is there. BTK runs them in one call."""
    found = [btk.deblend.SepSingleBand(max_n_sources=4 * MAX_NUMBER, use_band=BAND)]
    if importlib.util.find_spec("scarlet"):
        found.append(btk.deblend.Scarlet(max_n_sources=MAX_NUMBER))
    return found


def measure(generator) -> dict[str, dict[str, str]]:
    """Detection, segmentation and reconstruction by each deblender in LSST: mean and its error."""
    results = btk.deblend.DeblendGenerator(deblenders(), generator)
    matcher = btk.match.PixelHungarianMatcher(pixel_max_sep=5.0)
    survey = next(iter(generator.surveys.values()))
    sky = mean_sky_level(survey, survey.get_filter("i")).to_value("electron")
    metrics = {name: _metrics() for name in results.deblender_names}
    for _ in range(NBATCHES):
        blends, deblended = next(results)
        truth = blends.isolated_images[:, :, BAND]
        for name, found in deblended.items():
            match = matcher(blends.catalog_list, found.catalog_list)
            for key in ("precision", "recall", "F1"):
                metrics[name][key](match.tp, match.t, match.p)
            images = found.deblended_images[:, :, 0 if found.n_bands == 1 else BAND]
            pair = match.match_true_arrays(truth), match.match_pred_arrays(images)
            metrics[name]["PSNR"](*pair)
            metrics[name]["SSIM"](*pair)
            if found.segmentation is not None:
                masks = btk.metrics.utils.get_segmentation(truth, sky, sigma_noise=1.5)
                masks = match.match_true_arrays(np.nan_to_num(masks)).astype(bool)
                seen = match.match_pred_arrays(found.segmentation).astype(bool)
                metrics[name]["IoU"](masks, seen)
    return {
        name: {key: _mean(metric.values) for key, metric in group.items() if metric.values}
        for name, group in metrics.items()
    }


def _mean(values: list[float]) -> str:
    """The mean over batches, with its error from their scatter."""
    return f"{np.mean(values):.3f} +- {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def _metrics() -> dict[str, btk.metrics.base.Metric]:
    detection, reconstruction = btk.metrics.detection, btk.metrics.reconstruction
    return {
        "precision": detection.Precision(BATCH_SIZE),
        "recall": detection.Recall(BATCH_SIZE),
        "F1": detection.F1(BATCH_SIZE),
        "PSNR": reconstruction.PSNR(BATCH_SIZE),
        "SSIM": reconstruction.StructSim(BATCH_SIZE),
        "IoU": btk.metrics.segmentation.IoU(BATCH_SIZE),
    }


def colour(images: np.ndarray, level: float) -> np.ndarray:
    """Lupton colours of the i, r and g images, each in units of its noise."""
    noise = [1.4826 * np.median(np.abs(image - np.median(image))) for image in images]
    red, green, blue = (images[k] / noise[k] for k in (3, 2, 1))
    return make_lupton_rgb(red, green, blue, minimum=-1, stretch=level, Q=8)


def grey(image: np.ndarray) -> np.ndarray:
    """An arcsinh stretch in units of the noise."""
    noise = 1.4826 * np.median(np.abs(image - np.median(image)))
    return np.arcsinh(image / noise / 2)


def plot(batch, rows: int = 4) -> None:
    """One blend a row: LSST, Euclid and HST, and SEP's detections on LSST i."""
    titles = ("LSST g r i", "LSST i: truth +, SEP o", "Euclid VIS", "HST F814W (COSMOS)")
    figure, axes = plt.subplots(rows, 4, figsize=(10, 2.5 * rows + 0.3), layout="constrained")
    lsst, vis, hst = (batch[name] for name in ("LSST", "Euclid_VIS", "COSMOS"))
    for i, line in enumerate(axes):
        table, found = lsst.catalog_list[i], deblenders()[0].deblend(i, lsst).catalog
        line[0].imshow(colour(lsst.blend_images[i], 15), origin="lower")
        line[1].imshow(grey(lsst.blend_images[i, BAND]), origin="lower", cmap="gray")
        line[1].plot(table["x_peak"], table["y_peak"], "+", color="tab:orange", ms=10)
        line[1].plot(found["x_peak"], found["y_peak"], "o", mfc="none", color="tab:cyan", ms=12)
        line[2].imshow(grey(vis.blend_images[i, 0]), origin="lower", cmap="gray")
        line[3].imshow(grey(hst.blend_images[i, 0]), origin="lower", cmap="gray")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    for ax in axes.flat:
        ax.set_axis_off()
    os.makedirs(os.path.dirname(OUTPUT), exist_ok=True)
    figure.savefig(OUTPUT, dpi=80)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logger = logging.getLogger("demo_btk")

    generator = galsim_vae.GalaxyGenerator("candels")
    catalog = VAECatalog.from_generator(generator, NOBJECTS, seed=SEED)
    os.makedirs(os.path.dirname(GALAXIES), exist_ok=True)
    catalog.table.write(GALAXIES, overwrite=True)
    logger.info("Wrote %s: VAECatalog.from_file makes the same galaxies of it", GALAXIES)

    surveys = get_surveys(["LSST", "Euclid_VIS", "COSMOS"])
    bright = sampler(max_mag=23.5)
    plot(next(VAEGenerator(catalog, bright, surveys, batch_size=4, seed=SEED)))
    logger.info("Wrote %s", OUTPUT)

    drawn = {"VAE": VAEGenerator(catalog, sampler(), surveys[0], BATCH_SIZE, seed=SEED)}
    if len(sys.argv) > 1:
        catsim = btk.catalog.CatsimCatalog.from_file(sys.argv[1])
        drawn["CatSim"] = btk.draw_blends.CatsimGenerator(
            catsim, sampler(), surveys[0], BATCH_SIZE, seed=SEED
        )
    for name, blends in drawn.items():
        for deblender, values in measure(blends).items():
            line = ", ".join(f"{key} {value}" for key, value in values.items())
            logger.info("%s, %s: %s", name, deblender, line)


if __name__ == "__main__":
    main()
