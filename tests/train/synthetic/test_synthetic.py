"""Synthetic training galaxies: profiles, colours, canonical frame, population."""


import galsim
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from galsim_vae import shapes  # noqa: E402
from galsim_vae.frame import ROUND, UPRIGHT  # noqa: E402
from galsim_vae.geometry import sheared_shape  # noqa: E402
from galsim_vae.train.synthetic import colours, population  # noqa: E402
from galsim_vae.train.synthetic import galaxies as synthetic  # noqa: E402


@pytest.fixture(scope="module")
def table():
    return colours.colour_table()


@pytest.fixture(scope="module")
def drawn(table):
    generator = torch.Generator().manual_seed(11)
    conditions = population.sample(256, generator)
    return conditions, synthetic.sample(conditions, generator, table)


@pytest.mark.parametrize("name", colours.TEMPLATES)
@pytest.mark.parametrize("redshift", [0.0, 0.555, 1.37, 2.5])
def test_colours_of_pure_sed(table, name, redshift):
    """The table agrees with magnitudes that GalSim computes, to 5 mmag."""
    sed = galsim.SED(f"CWW_{name}_ext.sed", "Ang", "flambda").atRedshift(redshift)
    wave = np.linspace(290, 2000, 4000)
    igm = galsim.LookupTable(wave, colours.igm_transmission(wave, redshift), interpolant="linear")
    sed = sed * galsim.SED(igm, "nm", "1")
    files = ("ACS_wfc_F435W", "ACS_wfc_F606W", "ACS_wfc_F814W", "WFC3_ir_F125W", "WFC3_ir_F160W")
    bands = [galsim.Bandpass(f"{f}.dat", "nm").withZeropoint("AB") for f in files]
    magnitudes = np.array([sed.calculateMagnitude(b) for b in bands])
    ratio = table.at(torch.tensor([redshift]))[0, colours.TEMPLATES.index(name)].numpy()
    assert np.abs(-2.5 * np.log10(ratio) - (magnitudes - magnitudes[2])).max() < 5e-3


def test_stamps_normalised(drawn):
    conditions, galaxies = drawn
    stamps = galaxies.stamps
    assert stamps.shape == (256, 5, 64, 64) and stamps.dtype == torch.float32
    assert torch.isfinite(stamps).all() and (stamps >= 0).all()
    torch.testing.assert_close(stamps[:, 2].sum((1, 2)), torch.ones(256), atol=1e-5, rtol=0)
    # Red in the mean: f_nu rises with wavelength.
    assert (torch.diff(stamps.sum((2, 3)).median(0).values) > 0).all()


@pytest.mark.parametrize("frame", [ROUND, UPRIGHT], ids=["round", "upright"])
def test_canonical_frame(table, frame):
    """Half-light radius, centroid, angle and |g| on the sky: percentiles of their errors."""
    generator = torch.Generator().manual_seed(11)
    conditions = population.sample(256, generator)
    image = synthetic.sample(conditions, generator, table, frame=frame).stamps[:, 2]
    moments = shapes.adaptive_moments(image, iterations=40)
    radius = shapes.half_light_radius(image, moments)
    in_stamp = torch.complex(moments.g1, moments.g2)
    on_sky = sheared_shape(in_stamp, frame.shear(conditions[:, 2]))
    g, good = on_sky.abs(), moments.converged
    left = (in_stamp - frame.rest(conditions[:, 2])).abs()
    assert left[good].quantile(0.68) < 0.05
    assert good.float().mean() > 0.98
    assert (radius[good] / 6 - 1).abs().quantile(0.68) < 0.03
    assert torch.hypot(moments.x, moments.y)[good].quantile(0.68) < 0.15
    long = good & (conditions[:, 2] > 0.1)
    angle = torch.rad2deg(0.5 * on_sky.angle())
    assert angle[long].abs().quantile(0.68) < 3
    slope = np.polyfit(conditions[good, 2].numpy(), g[good].numpy(), 1)[0]
    assert 0.9 < slope < 1.1


def test_band_limited(drawn):
    """Mean power at the Nyquist frequency is far below that at a period of 8 px."""
    image = drawn[1].stamps.flatten(0, 1)
    power = (torch.fft.rfft2(image).abs() ** 2).mean(0)
    assert power[0, 32] < 1e-2 * power[0, 8]
    assert power[32, 0] < 1e-2 * power[8, 0]
    assert power[32, 32] < 2e-3 * power[8, 8]


def test_same_seed_same_pixels(table):
    conditions = population.sample(4, torch.Generator().manual_seed(2))

    def stamps(seed):
        generator = torch.Generator().manual_seed(seed)
        return synthetic.sample(conditions, generator, table).stamps

    assert torch.equal(stamps(5), stamps(5))
    assert not torch.equal(stamps(5), stamps(6))
