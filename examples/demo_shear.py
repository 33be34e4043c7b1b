"""demo_shear: what structure in galaxies does to the bias of shear estimators.

The Python twin of demo_shear.yaml.

- Draw 400 galaxies of the population in LSST i at the depth of ten years, in pairs of +g and -g,
  and the same with the Sersic twin of each.
- Measure their shapes with anacal and with REGAUSS.
- Draw m, and some of the galaxies and twins, seen with a PSF and without.

Run it from the top of the repository:   python examples/demo_shear.py
It writes examples/output/demo_shear.png, and table and figures to examples/output/demo_shear.
"""

import logging
import os
import sys

import galsim
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import yaml

import galsim_vae
from galsim_vae import shear
from galsim_vae.shear.scenes import draw_stamps
from galsim_vae.shear.twins import in_one_band, sersic_twins

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo_shear.yaml")
OUTPUT = os.path.join("examples", "output", "demo_shear.png")
NOBJECTS = 400
SHOWN = 8


def some_galaxies(view):
    """Stamps of a few bright galaxies through the survey's filter, and of their twins."""
    generator = galsim_vae.GalaxyGenerator("candels")
    table = {"magnitude": np.full(SHOWN, 22.0), "half_light_radius": np.full(SHOWN, 0.6)}
    stamps = generator.sample(table, galsim.BaseDeviate(1234))
    galaxies = in_one_band(stamps, view.band)
    return galaxies, sersic_twins(galaxies)


def show(axis, image, title=""):
    axis.imshow(np.arcsinh(image / (0.02 * image.max())), origin="lower", cmap="gray_r")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=8)


def draw_galaxies(figure, view):
    galaxies, twins = some_galaxies(view)
    nothing = np.zeros((SHOWN, 2))
    panels = figure.subplots(4, SHOWN)
    for row, stamps in zip((0, 2), (galaxies, twins.stamps), strict=True):
        through = draw_stamps(stamps, view, 40, nothing, 0.0, nothing)
        for k in range(SHOWN):
            title = f"n = {twins.index[k]:.1f}" if row else ""
            show(panels[row, k], stamps.array[k, 0], title)
            show(panels[row + 1, k], through[k])
    for row, label in enumerate(("galaxy", f'in {view.fwhm}"', "Sersic twin", f'in {view.fwhm}"')):
        panels[row, 0].set_ylabel(label)


def draw_biases(figure, table):
    rows = table[(table["property"] == "all") & (table["component"] == 1)]
    panels = np.ravel(figure.subplots(1, 2))
    for panel, estimator in zip(panels, dict.fromkeys(rows["estimator"]), strict=True):
        some = rows[rows["estimator"] == estimator]
        panel.axhline(0, color="0.7", lw=1)
        panel.errorbar(range(len(some)), some["m"], some["m_err"], fmt="o", color="k", capsize=3)
        panel.set_xticks(range(len(some)), list(some["population"]))
        panel.set_xlim(-0.5, len(some) - 0.5)
        panel.set_title(estimator)
        panel.set_ylabel("m")


def main():
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    with open(CONFIG) as file:
        values = yaml.safe_load(file) | {"galaxies": NOBJECTS}
    config = shear.CalibrationConfig.from_dict(values)
    table = shear.calibrate(config)
    figure = plt.figure(figsize=(9, 8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(5, 3))[:, 0]
    draw_galaxies(top, config.view())
    draw_biases(bottom, table)
    os.makedirs(os.path.dirname(OUTPUT), exist_ok=True)
    figure.savefig(OUTPUT, dpi=110)
    logging.info("Wrote %s", OUTPUT)


if __name__ == "__main__":
    main()
