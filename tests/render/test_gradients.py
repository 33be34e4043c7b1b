"""Gradients of the batched renderer, against finite differences of its images and of GalSim's."""

import dataclasses

import galsim
import numpy as np
import pytest
import torch
from drawings import ACCURACY, DEVICES, SCENES, TIGHT, galaxies, galsim_image, transforms
from torch.autograd.functional import jvp

from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.render import grids, render

PSF = galsim.Kolmogorov(fwhm=0.7)
SKEW = galsim.JacobianWCS(0.19, 0.04, -0.03, 0.23)
N = 3


def values(stamps, seed=5):
    """All that has gradients, float64."""
    rng = np.random.default_rng(seed)
    n = len(stamps)
    given = transforms(n, seed) | {
        "flux_ratio": rng.uniform(0.5, 2, n), "array": stamps.array.astype(float)
    }
    return {name: torch.tensor(value) for name, value in given.items()}


def drawing(stamps, psf=PSF, nx=30, ny=28, scale=0.2, dtype="float64", **settings):
    """Images over the peak of them all, as a function of tensors."""
    settings = {"dtype": dtype, "differentiable": True} | settings
    peak = render(stamps, psf, nx, ny, scale, **values(stamps), **settings).max()
    return lambda **tensors: render(stamps, psf, nx, ny, scale, **tensors, **settings) / peak


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["shear", "rotation", "shift", "flux_ratio", "array"])
@pytest.mark.parametrize(
    "scene",
    [
        {},
        {"psf": SCENES["fine"][0](), "scale": 0.05},
        {"scale": None, "wcs": SKEW, "bands": ["F606W", "LSST_i"], "zeropoint": 25.0},
        {"noise": galsim.GaussianNoise(sigma=3.0), "seed": 1},
    ],
    ids=["Kolmogorov", "fine", "skew", "noise"],
)
def test_agrees_with_finite_differences(name, scene, device, monkeypatch):
    """Of a random mean of all pixels, along a random direction; with the grid held."""
    stamps = galaxies(N, seed=7)
    draw, given = drawing(stamps, **scene, device=device), values(stamps)
    rng = np.random.default_rng(len(name))
    direction = torch.tensor(rng.normal(size=given[name].shape))
    if name == "array":
        direction *= given[name]
    held = []

    def find_grids(scene, rows):
        if not held:
            held.append(find(scene, rows))
        return held[0]

    find = grids.find_grids
    monkeypatch.setattr(grids, "find_grids", find_grids)
    start = given[name].clone().requires_grad_()
    images = draw(**given | {name: start})
    weight = torch.tensor(rng.normal(size=images.shape)).to(images)
    (gradient,) = torch.autograd.grad((images * weight).sum(), start)
    found = float((gradient * direction).sum())

    def at(step):
        moved = draw(**given | {name: given[name] + step * direction})
        return float((moved * weight).sum())

    step = 1e-6
    wanted = (at(step) - at(-step)) / (2 * step)
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert abs(wanted) > 1e-2


@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("psf", ["Kolmogorov", "fine"])
def test_agrees_with_differences_of_galsim(psf, aligned, dtype):
    """Every pixel's derivative, over the largest; also where axes of stamp and sky are parallel."""
    make, scale, nx, ny, _ = SCENES[psf]
    stamps, moves = galaxies(1, seed=4, low=0.2), transforms(1)
    if aligned:
        stamps = dataclasses.replace(stamps, jacobian=stamps.pixel_scale[:, None, None] * np.eye(2))
        moves = {name: np.zeros_like(value) for name, value in moves.items()}
    tensors = {name: torch.tensor(value) for name, value in moves.items()}
    settings = {"dtype": dtype, "differentiable": True}

    def galsim_draws(name, value):
        one = {key: number[0] for key, number in moves.items()} | {name: value}
        return galsim_image(stamps, 0, make().withGSParams(**TIGHT), nx, ny, scale, **one)

    def draw(name, value):
        return render(stamps, make(), nx, ny, scale, **tensors | {name: value}, **settings)[0, 0]

    step = 1e-3
    for name, direction in (("shear", [1, 0]), ("shear", [0, 1]), ("shift", [0.6, 0.8]),
                            ("rotation", 1)):  # fmt: skip
        along = torch.tensor([direction], dtype=torch.float64)
        _, slope = jvp(lambda value, name=name: draw(name, value), tensors[name], along)
        ends = [
            galsim_draws(name, moves[name][0] + h * np.array(direction)) for h in (step, -step)
        ]
        wanted = (ends[0] - ends[1]) / (2 * step)
        error = np.abs(slope.double().numpy() - wanted).max() / np.abs(wanted).max()
        assert error < 1e-4, (name, error)


def test_second_derivatives_are_finite():
    """For Fisher matrices and Newton's method; axes of stamp and sky are parallel."""
    stamps = galaxies(1)
    stamps = dataclasses.replace(stamps, jacobian=stamps.pixel_scale[:, None, None] * np.eye(2))
    draw, start = drawing(stamps), torch.zeros(2, dtype=torch.float64)

    def cost(shear):
        return draw(shear=shear).square().sum()

    found = torch.autograd.functional.hessian(cost, start)
    step = 1e-3
    ends = []
    for sign in (1, -1):
        shear = torch.tensor([sign * step, 0.0], dtype=torch.float64, requires_grad=True)
        ends.append(torch.autograd.grad(cost(shear), shear)[0])
    wanted = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found[0], wanted, atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("device", DEVICES)
def test_images_are_those_without_gradients(device, dtype):
    stamps, settings = galaxies(5, high=1.2), {"dtype": dtype, "device": device}
    given, noise = values(stamps), {"noise": galsim.GaussianNoise(sigma=0.1), "seed": 2}
    plain = render(stamps, PSF, 30, 28, 0.2, **given, **noise, **settings)
    images = render(stamps, PSF, 30, 28, 0.2, **given, **noise, **settings, differentiable=True)
    assert not plain.requires_grad and not images.requires_grad
    assert images.dtype == plain.dtype and images.device == plain.device
    np.testing.assert_allclose(images.cpu(), plain.cpu(), atol=4e-6 * float(plain.max()))
    numbers = {name: value.numpy() for name, value in given.items()}
    np.testing.assert_array_equal(
        render(stamps, PSF, 30, 28, 0.2, **numbers, **noise, **settings).cpu(), plain.cpu()
    )


def test_a_gradient_does_not_depend_on_the_batch():
    """Galaxies of unlike sizes, which do not share a grid; one shear for all of them."""
    stamps, given = galaxies(6, high=1.2), values(galaxies(6))
    weight = torch.tensor(np.random.default_rng(1).normal(size=(28, 30)))

    def gradient(rows):
        shear = given["shear"][rows].clone().requires_grad_()
        images = render(stamps[rows], PSF, 30, 28, 0.2, shear=shear, dtype="float64",
                        differentiable=True)  # fmt: skip
        return torch.autograd.grad((images * weight).sum(), shear)[0].numpy()

    whole = gradient(np.arange(6))
    for rows in (np.array([4, 1, 0]), np.array([2])):
        np.testing.assert_allclose(gradient(rows), whole[rows], rtol=1e-10)
    one = given["shear"][0].clone().requires_grad_()
    images = stamps.render(PSF, 30, 28, 0.2, shear=one, differentiable=True, dtype="float64")
    assert isinstance(images, torch.Tensor) and images.shape == (6, 1, 28, 30)
    (total,) = torch.autograd.grad((images * weight).sum(), one)
    each = one.detach().expand(6, 2).clone().requires_grad_()
    images = render(stamps, PSF, 30, 28, 0.2, shear=each, differentiable=True, dtype="float64")
    (parts,) = torch.autograd.grad((images * weight).sum(), each)
    np.testing.assert_allclose(total, parts.sum(0), rtol=1e-10)


def test_gradients_reach_the_latents():
    """Through the decoder, which works in float32."""
    torch.manual_seed(2)
    decoder = VAE().decoder
    stamps, rng = galaxies(2), np.random.default_rng(3)
    latent = torch.tensor(rng.normal(size=(2, VAEConfig().latent)))
    weight = torch.tensor(rng.normal(size=(28, 30)))
    draw = drawing(stamps)

    def value(latent):
        return (draw(array=decoder(latent.float())) * weight).sum()

    start = latent.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(start), start)
    steepest = gradient / gradient.norm()
    with torch.no_grad():
        ends = [value(latent + step * steepest) for step in (1e-2, -1e-2)]
    wanted = float(ends[0] - ends[1]) / 2e-2
    assert float(gradient.norm()) == pytest.approx(wanted, rel=3e-3)


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"noise": galsim.PoissonNoise(sky_level=1.0), "seed": 1}, "no gradient"),
        ({"noise": galsim.CCDNoise(sky_level=1.0), "seed": 1}, "no gradient"),
        ({"out": torch.empty(2, 1, 16, 16)}, "into no tensor"),
        ({"device": ["cpu", "cpu"]}, "one device"),
        ({"differentiable": False, "shear": torch.zeros(2, requires_grad=True)}, "shear asks"),
        ({"differentiable": False, "flux_ratio": torch.ones(2, requires_grad=True)}, "flux_ratio"),
        ({"differentiable": False, "array": torch.ones(2, 5, 64, 64, requires_grad=True)},
         "array asks"),
    ],
)  # fmt: skip
def test_what_has_no_gradient_is_refused(kwargs, words):
    with pytest.raises(galsim.GalSimIncompatibleValuesError, match=words):
        render(galaxies(2), PSF, 16, 16, 0.2, **{"differentiable": True} | kwargs)


def test_no_galaxies():
    assert render(galaxies(2)[:0], PSF, 8, 9, 0.2, differentiable=True).shape == (0, 1, 9, 8)
    assert render(galaxies(2), PSF, 8, 9, 0.2, bands=[], differentiable=True).shape == (2, 0, 9, 8)
