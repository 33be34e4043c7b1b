"""demo_gradient: recover a shear from images of galaxies by gradient descent.

- Draw 50 galaxies of the population through a Kolmogorov PSF, all sheared by the same (g1, g2),
  each shifted and dimmed by numbers of its own, with noise.
- Forget the shear, the shifts and the fluxes, and begin with none.
- Draw the galaxies again with `differentiable=True`, compare with the images, follow the gradient
  of chi-square, and so on. (The galaxies' shapes without shear are known here. A measurement of
  the sky would fit latents too, see "Gradients" on the page about rendering.)
- The second derivatives of chi-square at its minimum give the errors.

Run it from the top of the repository:   python examples/demo_gradient.py
It writes examples/output/demo_gradient.png and says what it found.
"""

import os

import astropy.units as u
import galsim
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm import tqdm

import galsim_vae
from galsim_vae.render import render

OUTPUT = os.path.join("examples", "output", "demo_gradient.png")
NOBJECTS = 50
SHEAR = (0.03, -0.02)
SKY = 0.02  # sigma of the noise, counts
STEPS = 50


def make_galaxies():
    """Galaxies of 23 mag, some 60 counts at a zero-point of 27.5, and 0.6"."""
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    rng = galsim.BaseDeviate(1234)
    table = generator.sample_conditions(NOBJECTS, rng)
    table["magnitude"], table["half_light_radius"] = 23.0, 0.6 * u.arcsec
    return generator.sample(table, rng)


def camera(stamps):
    """A function that draws the galaxies, with gradients."""
    psf = galsim.Kolmogorov(fwhm=0.7)
    settings = {"bands": "LSST_i", "zeropoint": 27.5, "differentiable": True, "device": "cpu"}
    return lambda **moves: render(stamps, psf, 40, 40, 0.2, **settings, **moves)


def take_images(draw):
    """What a telescope sees: shifts of half a pixel, fluxes that differ by a tenth, noise."""
    rng = np.random.default_rng(5)
    return draw(
        shear=SHEAR, shift=rng.uniform(-0.1, 0.1, (NOBJECTS, 2)),
        flux_ratio=rng.normal(1, 0.1, NOBJECTS),
        noise=galsim.GaussianNoise(sigma=SKY), seed=5,
    )  # fmt: skip


def chi_square(draw, images, shear, shift, flux_ratio):
    """Return the sum over all pixels of (image - model)^2 / sigma^2."""
    model = draw(shear=shear, shift=shift, flux_ratio=flux_ratio)
    return ((images - model) / SKY).double().square().sum()


def descend(draw, images):
    """Follow the gradient; return the parameters, and the shear and chi-square of every step."""
    start = [torch.zeros(2), torch.zeros(NOBJECTS, 2), torch.ones(NOBJECTS)]
    parameters = [value.double().requires_grad_() for value in start]
    # Steps are a tenth of what there may be to go.
    rates = zip(parameters, (4e-3, 1e-2, 2e-2), strict=True)
    groups = [{"params": [value], "lr": rate} for value, rate in rates]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    path = []
    for _ in tqdm(range(STEPS), desc="descending"):
        optimizer.zero_grad()
        cost = chi_square(draw, images, *parameters)
        cost.backward()
        path.append((*parameters[0].tolist(), float(cost.detach())))
        optimizer.step()
        schedule.step()
    return parameters, np.array(path)


def errors(draw, images, parameters):
    """Return the errors of the shear with the rest held, from the curvature of chi-square."""
    shear, *rest = (value.detach() for value in parameters)
    curvature = torch.autograd.functional.hessian(
        lambda shear: chi_square(draw, images, shear, *rest), shear
    )
    return torch.linalg.inv(torch.as_tensor(curvature) / 2).diagonal().sqrt().numpy()


def plot(images, draw, parameters, path):
    """Some images, models and residuals; and the way of the shear."""
    figure = plt.figure(figsize=(9, 6), layout="constrained")
    grid = figure.add_gridspec(5, 8)
    with torch.no_grad():
        shear, shift, flux_ratio = parameters
        model = draw(shear=shear, shift=shift, flux_ratio=flux_ratio)[:, 0].numpy()
    shown = images[:, 0].numpy()
    for row, (name, arrays) in enumerate(
        (("image", shown), ("model", model), ("residual", shown - model))
    ):
        for column in range(8):
            axis = figure.add_subplot(grid[row, column], xticks=[], yticks=[])
            axis.imshow(np.arcsinh(arrays[column] / SKY), origin="lower", vmin=-3, vmax=5)
            if column == 0:
                axis.set_ylabel(name)
    left, right = (figure.add_subplot(grid[3:, half]) for half in (slice(4), slice(4, 8)))
    for k, name in enumerate(("$g_1$", "$g_2$")):
        left.plot(path[:, k], color=f"C{k}", label=name)
        left.axhline(SHEAR[k], color=f"C{k}", linestyle=":")
    left.set(xlabel="step", ylabel="shear")
    left.legend()
    right.plot(path[:, 2] / shown.size)
    right.set(xlabel="step", ylabel=r"$\chi^2$ / pixel")
    os.makedirs(os.path.dirname(OUTPUT), exist_ok=True)
    figure.savefig(OUTPUT, dpi=100)
    plt.close(figure)


def main():
    """Draw, descend, say what was found."""
    draw = camera(make_galaxies())
    images = take_images(draw)
    parameters, path = descend(draw, images)
    found, error = parameters[0].detach().numpy(), errors(draw, images, parameters)
    for k in range(2):
        print(f"g{k + 1} = {found[k]:.4f} +- {error[k]:.4f}, true {SHEAR[k]}")
    print(f"chi-square a pixel: {path[0, 2] / images.numel():.3f} -> "
          f"{path[-1, 2] / images.numel():.3f}")  # fmt: skip
    plot(images, draw, parameters, path)
    return found, error


if __name__ == "__main__":
    main()
