"""The config types with the shipped weights: what only a true network can get wrong."""

import copy

import galsim
import numpy as np
import pytest
import torch
import yaml

FIELDS = """
modules: [galsim_vae]
image:
  type: Tiled
  nx_tiles: 3
  ny_tiles: 2
  stamp_size: 48
  pixel_scale: 0.2
  random_seed: 1234
psf: {type: Kolmogorov, fwhm: 0.7}
"""
GENERATOR = """
input: {vae_generator: {weights: candels, device: cpu}}
gal:
  type: VAEGalaxy
  magnitude: 23
  half_light_radius: 0.5
  ellipticity: {type: G1G2, g1: 0.2, g2: -0.1}
  redshift: 0.8
  zeropoint: 30
"""
CATALOG = """
input: {vae_catalog: {nobjects: 6, device: cpu}}
gal: {type: VAEGalaxy}
"""


@pytest.fixture(params=[GENERATOR, CATALOG], ids=["generator", "catalog"])
def fields(request):
    return yaml.safe_load(FIELDS + request.param)


def build(fields, **image):
    fields = copy.deepcopy(fields)
    fields["image"].update(image)
    galsim.config.ImportModules(fields)
    return galsim.config.BuildImage(fields).array


def test_pixels_depend_on_the_seed_and_not_on_processes(fields):
    """nproc 2 and 4 come first: there the parent of the workers has not used the network yet."""
    images = [build(fields, nproc=nproc) for nproc in (2, 4, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])
    assert not np.array_equal(images[0], build(fields, random_seed=4321))


def test_workers_of_a_parent_that_has_used_torch_threads(fields):
    """A forked worker does not have these threads; it must not wait for them (for the timeout)."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(1 << 20).exp().sum()
        forked = build(fields, nproc=2, timeout=120)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(forked, build(fields))


def test_constant_keys_give_a_different_galaxy_per_stamp(fields):
    stamps = build(fields).reshape(2, 48, 3, 48).swapaxes(1, 2).reshape(6, 48, 48)
    for i in range(1, 6):
        assert np.abs(stamps[i] - stamps[0]).max() > 1e-3 * stamps[0].max()


@pytest.mark.parametrize("chromatic", [False, True])
def test_flux_and_redshift_are_those_asked_for(chromatic):
    fields = yaml.safe_load(FIELDS + GENERATOR)
    galsim.config.ImportModules(fields)
    if chromatic:
        fields["bandpass"] = galsim.Bandpass("ACS_wfc_F814W.dat", "nm")
    fields["rng"] = galsim.BaseDeviate(5)
    galsim.config.ProcessInput(fields)
    gal = galsim.config.BuildGSObject(fields, "gal")[0]
    assert gal.redshift == 0.8
    flux = gal.calculateFlux(fields["bandpass"]) if chromatic else gal.flux
    exact = 10 ** (-0.4 * (23 - 30))
    assert flux == pytest.approx(exact, rel=1e-3 if chromatic else 1e-6)
