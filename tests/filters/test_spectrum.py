"""The spectrum between the bands, and with it any other filter."""

import galsim
import numpy as np
import pytest

from galsim_vae.bands import BANDS
from galsim_vae.filters import ab_zeropoint, find_bandpass
from galsim_vae.filters.spectrum import band_weights, node_values, photon_spectra

LSST = ("LSST_g", "LSST_r", "LSST_i", "LSST_z", "LSST_y")
REDSHIFTS = np.arange(0.1, 2.55, 0.1)
# Largest error in magnitudes for the spectra of Coleman, Wu & Weedman (1980) at any of REDSHIFTS,
# rounded up. The 400 nm break of an elliptical between two bands is the worst case.
WORST = {
    "E": (0.42, 0.09, 0.42, 0.28, 0.41),
    "Sbc": (0.14, 0.06, 0.14, 0.11, 0.26),
    "Scd": (0.11, 0.06, 0.12, 0.12, 0.21),
    "Im": (0.10, 0.06, 0.12, 0.14, 0.19),
}


def ab_fluxes(sed, filters=BANDS):
    """Mean f_nu, in units of AB magnitude 0."""
    magnitudes = [
        sed.calculateMagnitude(find_bandpass(name).withZeropoint("AB")) for name in filters
    ]
    return 10 ** (-0.4 * np.array(magnitudes))


def fluxes_through(filters, nodes):
    return np.stack(
        [band_weights(find_bandpass(name), nodes).sum(axis=1) for name in filters], axis=1
    )


def of_galaxies(spread, n=2000, seed=5):
    """Fluxes of colours that scatter by ``spread`` magnitudes in every band."""
    return 10 ** (-0.4 * spread * np.random.default_rng(seed).normal(size=(n, len(BANDS))))


@pytest.mark.parametrize(
    "fluxes",
    [
        of_galaxies(1.0),
        [[1e-5, 1e-3, 1, 1, 1]],  # Lyman-break galaxies.
        [[1e-6, 1e-6, 1e-3, 1, 1]],
        [[2e-4, 1e-2, 1, 20, 80]],  # Redder than any elliptical.
        [[50, 10, 1, 0.3, 0.2]],
    ],
    ids=["scatter", "dropout", "far", "red", "blue"],
)
def test_each_band_gets_its_own_flux(fluxes):
    np.testing.assert_allclose(fluxes_through(BANDS, node_values(fluxes)), fluxes, rtol=1e-8)


def test_galaxies_are_independent_and_in_any_unit():
    fluxes = of_galaxies(0.5, n=5)
    nodes = node_values(fluxes)
    np.testing.assert_allclose(node_values(fluxes[3:4]), nodes[3:4], atol=1e-8)
    np.testing.assert_allclose(node_values(1e-10 * fluxes), nodes + np.log(1e-10), atol=1e-8)
    assert node_values(fluxes[:0]).shape == (0, 5)


@pytest.mark.parametrize("spread", [1, 3, 10])
def test_nothing_is_negative_or_absurd(spread):
    """Whatever the colours: no filter is much brighter than the brightest band."""
    fluxes = of_galaxies(spread)
    fluxes[::7, 0] = 0
    fluxes[::11, 3] = 0
    nodes = node_values(fluxes)
    assert np.isfinite(nodes).all()
    for name in (*BANDS, *LSST, "WFC3_ir_F105W"):
        weights = band_weights(find_bandpass(name), nodes)
        assert (weights >= 0).all() and (weights.sum(axis=1) > 0).all()
        assert (weights.sum(axis=1) < 2.5 * fluxes.max(axis=1)).all()


def test_a_band_that_cannot_have_its_flux_leaves_the_others_alone():
    """F125W 20 magnitudes below its neighbours: too bright, and the rest exact."""
    got = fluxes_through(BANDS, node_values([[1, 1, 1, 1e-8, 1]]))[0]
    np.testing.assert_allclose(got[[0, 1, 2, 4]], 1, rtol=1e-8)
    assert got[3] < 1e-3


@pytest.mark.parametrize("name", [*LSST, "WFC3_ir_F105W"])
@pytest.mark.parametrize("slope", [-2.0, -0.5, 0.0, 1.0, 3.0])
def test_power_laws(name, slope):
    """Exact, but for the constant spectrum beyond the first and last pivots."""
    sed = galsim.SED(lambda wave: (wave / 800) ** slope, "nm", "fnu")
    got = fluxes_through([name], node_values([ab_fluxes(sed)]))
    tolerance = 0.06 if name == "LSST_g" else 0.03
    assert got[0] == pytest.approx(ab_fluxes(sed, [name]), rel=tolerance if slope else 1e-4)


@pytest.mark.parametrize("kind", WORST)
def test_galaxies_through_lsst(kind):
    rest = galsim.SED(f"CWW_{kind}_ext_more.sed", "Ang", "flambda")
    seds = [rest.atRedshift(z) for z in REDSHIFTS]
    truth = np.array([ab_fluxes(sed, LSST) for sed in seds])
    got = fluxes_through(LSST, node_values([ab_fluxes(sed) for sed in seds]))
    error = -2.5 * np.log10(got / truth)
    print(f"\n{kind}: magnitudes, interpolated - true\n   z  " + "  ".join(LSST))
    for z, row in zip(REDSHIFTS, error, strict=True):
        print(f"{z:4.1f}  " + "  ".join(f"{e:+6.2f}" for e in row))
    worst = np.abs(error).max(axis=0)
    print("max   " + "  ".join(f"{e:6.3f}" for e in worst))
    assert (worst <= WORST[kind]).all()


def test_weights_mix_the_bands_about_the_filter():
    weights = band_weights(find_bandpass("LSST_r"), np.zeros((1, 5)))[0]
    assert weights.sum() == pytest.approx(1)
    assert BANDS[np.argmax(weights)] == "F606W"
    assert weights[3] == weights[4] == 0
    line = galsim.Bandpass("1", "nm", blue_limit=805, red_limit=807)
    np.testing.assert_allclose(band_weights(line, np.zeros((1, 5)))[0], np.eye(5)[2], atol=5e-3)


def test_filter_out_of_reach():
    with pytest.raises(galsim.GalSimRangeError, match="LSST_u"):
        band_weights(find_bandpass("LSST_u"), np.zeros((1, 5)))


@pytest.mark.parametrize("redshift", [0.0, 0.7, 4.0, np.nan])
@pytest.mark.parametrize("fluxes", [[0.3, 0.7, 1.0, 1.5, 1.8], [1e-3, 0.05, 1, 9, 25]])
def test_spectra_integrate_to_the_fluxes(redshift, fluxes):
    """In HST bands and others, whatever the redshift; and the same redshift again is no change."""
    nodes = node_values([fluxes])
    seds = photon_spectra(nodes[0], redshift)
    wave = np.linspace(300, 1900, 997)
    for sed in seds:
        assert sed.redshift == (0 if np.isnan(redshift) else redshift)
        assert sed.atRedshift(sed.redshift) is sed
        assert (sed(wave) >= 0).all()
    for name in (*BANDS, *LSST):
        bandpass = find_bandpass(name)
        parts = [sed.calculateFlux(bandpass) for sed in seds]
        got = np.array(parts) * 10 ** (-0.4 * ab_zeropoint(bandpass))
        weights = band_weights(bandpass, nodes)[0]
        np.testing.assert_allclose(got, weights, atol=2e-4 * weights.sum())


def test_spectra_at_another_redshift_move_from_their_own():
    """A source of z = 1 moved to z = 2 is as if its spectrum were stretched by 3/2."""
    sed = photon_spectra(np.zeros(5), 1.0)[2]
    moved = sed.atRedshift(2.0)
    assert moved(1200.0) == pytest.approx(sed(800.0), rel=1e-6)


def test_spectra_of_two_redshifts_add_up_to_what_arrives():
    """They are in the observer's frame: a sum is the sum of what each gives a filter."""
    near, far = (photon_spectra(np.arange(5.0) * s, z)[2] for s, z in ((0.3, 0.4), (-0.2, 1.7)))
    star = galsim.SED("vega.txt", "nm", "flambda") * 1e-10
    for one, other in ((near, far), (far, near), (near, star), (star, near), (near * 2.0, far / 3)):
        both = one + other
        for name in LSST:
            bandpass = find_bandpass(name)
            parts = one.calculateFlux(bandpass) + other.calculateFlux(bandpass)
            assert both.calculateFlux(bandpass) == pytest.approx(parts, rel=1e-4)
    same = near + near
    assert same.redshift == near.redshift
    assert ((near + far) + near)(700.0) == pytest.approx(2 * near(700.0) + far(700.0))


@pytest.mark.parametrize("slope", [-1.0, 2.0])
def test_extrapolated_spectra_have_the_extrapolated_fluxes(slope):
    nodes = node_values([ab_fluxes(galsim.SED(lambda w: (w / 800) ** slope, "nm", "fnu"))])
    seds = photon_spectra(nodes[0], 0.5, extrapolate=True)
    u = find_bandpass("LSST_u")
    got = sum(sed.calculateFlux(u) for sed in seds) * 10 ** (-0.4 * ab_zeropoint(u))
    assert got == pytest.approx(band_weights(u, nodes, extrapolate=True).sum(), rel=1e-3)
    plain = photon_spectra(nodes[0], 0.5)
    for sed, other in zip(seds, plain, strict=True):
        assert sed(500.0) == other(500.0)
