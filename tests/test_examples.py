"""The demos run, in Python and in YAML."""

import importlib
import subprocess
import sys
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.table import Table
from places import ROOT

EXAMPLES = ROOT / "examples"
OUTPUT = Path("examples", "output")
BANDS = ("g", "r", "i", "vis")
CCDS = [f"S{row}{column}" for row in range(3) for column in range(3)]
SPACE = ("vis", "Y106", "J129", "H158")


def run_yaml(name: str, folder: Path, *settings: str) -> None:
    """Run ``galsim examples/<name>.yaml`` in ``folder``, with config items set to others."""
    command = [sys.executable, "-m", "galsim", "-x", str(EXAMPLES / f"{name}.yaml"), *settings]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Import a Python demo by its name, made small, to run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name, nobjects=None):
        module = importlib.reload(importlib.import_module(name))
        if nobjects is not None:
            monkeypatch.setattr(module, "NOBJECTS", nobjects)
        return module

    return load


def check_image(path: Path) -> None:
    """Check that a FITS image has finite pixels, and galaxies that stand out of the noise."""
    array = galsim.fits.read(str(path)).array
    assert np.all(np.isfinite(array))
    assert np.all(array.std(axis=0) > 0)
    noise = 1.4826 * np.median(np.abs(array - np.median(array)))
    assert array.max() - np.median(array) > 6 * noise


def test_every_demo_is_a_pair():
    scripts = {path.stem for path in EXAMPLES.glob("demo[0-9]*.py")}
    assert scripts
    assert scripts == {path.stem for path in EXAMPLES.glob("demo[0-9]*.yaml")}


def test_demo1_yaml(tmp_path):
    run_yaml("demo1", tmp_path, "image.nobjects=10")
    check_image(tmp_path / OUTPUT / "demo1.fits")


def test_demo1_python(tmp_path, demo):
    demo("demo1", 10).main()
    check_image(tmp_path / OUTPUT / "demo1_py.fits")


def test_demo2_yaml(tmp_path):
    run_yaml("demo2", tmp_path, "input.vae_catalog.nobjects=30")
    for band in BANDS:
        check_image(tmp_path / OUTPUT / f"demo2_{band}.fits")
    truth = {band: Table.read(tmp_path / OUTPUT / f"demo2_{band}_truth.fits") for band in BANDS}
    scale = {"g": 0.2, "r": 0.2, "i": 0.2, "vis": 0.1}
    for band in BANDS:
        assert len(truth[band]) > 0
        for column in ("index", "magnitude", "half_light_radius", "g1", "g2", "redshift"):
            np.testing.assert_array_equal(truth[band][column], truth["g"][column])
        for axis in ("x", "y"):  # the centre of the field is that of the image
            sky = [(truth[b][axis] - (60 / scale[b] + 1) / 2) * scale[b] for b in (band, "g")]
            np.testing.assert_allclose(*sky, atol=1e-6)


def test_demo2_python(tmp_path, demo):
    demo("demo2", 30).main()
    for band in BANDS:
        check_image(tmp_path / OUTPUT / f"demo2_py_{band}.fits")
    for name in ("demo2_py.png", "demo2_py_vis.png"):
        assert (tmp_path / OUTPUT / name).stat().st_size > 0


@pytest.fixture(scope="module")
def focal_plane(tmp_path_factory):
    """The folder where demo3.yaml has drawn some 30 galaxies."""
    folder = tmp_path_factory.mktemp("demo3")
    run_yaml("demo3", folder, "input.vae_catalog.density=2")
    return folder / OUTPUT


def test_demo3_has_each_object_once_on_the_sky_and_at_its_place_on_each_ccd(focal_plane):
    known = {}
    for ccd in CCDS:
        image = galsim.fits.read(str(focal_plane / f"demo3_{ccd}.fits"))
        assert np.all(np.isfinite(image.array))
        for row in Table.read(focal_plane / f"demo3_{ccd}_truth.fits"):
            sky = galsim.CelestialCoord(row["ra"] * galsim.degrees, row["dec"] * galsim.degrees)
            place = image.wcs.toImage(sky)
            assert (place.x, place.y) == pytest.approx((row["x"], row["y"]), abs=1e-4)
            what = tuple(row[name] for name in row.colnames if name not in "xy")
            assert known.setdefault(row["number"], what) == what
    stars = [row[1] for row in known.values()]
    assert any(stars) and not all(stars)


def test_demo3_shows_its_stars_where_the_truth_has_them(focal_plane):
    seen = []
    for ccd in CCDS:
        image = galsim.fits.read(str(focal_plane / f"demo3_{ccd}.fits"))
        truth = Table.read(focal_plane / f"demo3_{ccd}_truth.fits")
        for row in truth[(truth["star"] == 1) & (truth["magnitude"] < 21)]:
            center = galsim.PositionI(round(row["x"]), round(row["y"]))
            if image.bounds.includes(center):
                flux = 5520 * 10 ** (0.4 * (27.81 - row["magnitude"]))
                star = galsim.Kolmogorov(fwhm=0.79, flux=flux)
                offset = (row["x"] - center.x, row["y"] - center.y)
                peak = star.drawImage(nx=1, ny=1, scale=0.2, offset=offset).array[0, 0]
                seen.append(image(center) / peak)
    assert len(seen) > 2
    assert min(seen) > 0.97 and np.median(seen) < 1.03  # neighbours add to it


def test_demo3_lenses_what_is_behind_the_cluster(focal_plane):
    behind = 0
    halo = galsim.NFWHalo(mass=2e14, conc=4, redshift=0.3)
    center = galsim.CelestialCoord(55 * galsim.degrees, -30 * galsim.degrees)
    for ccd in CCDS:
        for row in Table.read(focal_plane / f"demo3_{ccd}_truth.fits"):
            if row["redshift"] <= 0.3:
                assert (row["shear1"], row["shear2"], row["magnification"]) == (0, 0, 1)
                continue
            behind += 1
            sky = galsim.CelestialCoord(row["ra"] * galsim.degrees, row["dec"] * galsim.degrees)
            x, y = (angle / galsim.arcsec for angle in center.project(sky))
            turn = np.exp(-2j * np.arctan2(y, x))
            tangential = -(row["shear1"] + 1j * row["shear2"]) * turn
            assert tangential.real > 0 and abs(tangential.imag) < 1e-9
            found = halo.getMagnification((x, y), row["redshift"])
            assert row["magnification"] == pytest.approx(found, rel=1e-9)
    assert behind > 5


def test_demo3_in_jobs(focal_plane, tmp_path):
    run_yaml("demo3", tmp_path, "input.vae_catalog.density=2", "-n", "3", "-j", "2")
    names = sorted(path.name for path in (tmp_path / OUTPUT).glob("*S??.fits"))
    assert names == [f"demo3_{ccd}.fits" for ccd in CCDS[3:6]]
    for name in names:
        arrays = [galsim.fits.read(str(p / name)).array for p in (focal_plane, tmp_path / OUTPUT)]
        np.testing.assert_array_equal(*arrays)


def test_demo3_python_draws_the_pixels_of_yaml(focal_plane, tmp_path, demo):
    demo("demo3").main(density=2.0)
    for ccd in CCDS:
        ours = galsim.fits.read(str(tmp_path / OUTPUT / f"demo3_py_{ccd}.fits"))
        theirs = galsim.fits.read(str(focal_plane / f"demo3_{ccd}.fits"))
        assert ours.wcs == theirs.wcs
        np.testing.assert_array_equal(ours.array, theirs.array)
        truth = Table.read(focal_plane / f"demo3_{ccd}_truth.fits")
        found = Table.read(tmp_path / OUTPUT / f"demo3_py_{ccd}_truth.fits")
        assert set(found.colnames) == set(truth.colnames)
        for name in truth.colnames:
            np.testing.assert_array_equal(found[name], truth[name])
    assert (tmp_path / OUTPUT / "demo3_py.png").stat().st_size > 0


def test_demo4_yaml_and_python_draw_the_same_pixels(tmp_path, demo):
    run_yaml("demo4", tmp_path, "input.vae_catalog.nobjects=6")
    demo("demo4").main(6)
    truth = {band: Table.read(tmp_path / OUTPUT / f"demo4_{band}_truth.fits") for band in SPACE}
    for band in SPACE:
        check_image(tmp_path / OUTPUT / f"demo4_{band}.fits")
        for column in truth["vis"].colnames:
            np.testing.assert_array_equal(truth[band][column], truth["vis"][column])
        theirs = galsim.fits.read(str(tmp_path / OUTPUT / f"demo4_{band}.fits"))
        ours = galsim.fits.read(str(tmp_path / OUTPUT / f"demo4_py_{band}.fits"))
        np.testing.assert_array_equal(ours.array, theirs.array)
    for name in ("demo4_py_vis.png", "demo4_py_roman.png"):
        assert (tmp_path / OUTPUT / name).stat().st_size > 0


def test_demo4_draws_through_a_psf_of_the_users(tmp_path, demo):
    module = demo("demo4")
    broad = galsim.Gaussian(fwhm=0.8)
    broad.drawImage(nx=128, ny=128, scale=0.05, method="no_pixel").write("psf.fits")
    module.main(6)
    name = tmp_path / OUTPUT / "demo4_py_vis.fits"
    sharp = galsim.fits.read(str(name)).array.max()
    module.main(6, galsim.InterpolatedImage("psf.fits", scale=0.05, flux=1))
    assert galsim.fits.read(str(name)).array.max() < 0.7 * sharp


def test_demo4_has_the_psf_of_btk():
    survey = pytest.importorskip("btk.survey").get_surveys("Euclid_VIS")
    psf = survey.get_filter("IE").psf
    telescope = galsim.Airy(lam=750.637, diam=1.2, obscuration=0.13**0.5)
    ours = galsim.Convolve(galsim.Kolmogorov(fwhm=0.17), telescope)
    images = [profile.drawImage(nx=32, ny=32, scale=0.05).array for profile in (psf, ours)]
    np.testing.assert_allclose(images[1], images[0], atol=1e-6 * images[0].max())


def test_demo_gradient_finds_the_shear(tmp_path, demo):
    module = demo("demo_gradient", 12)
    found, error = module.main()
    assert (np.abs(found - module.SHEAR) < 4 * error).all() and (error < 0.01).all()
    assert (tmp_path / OUTPUT / "demo_gradient.png").stat().st_size > 0


def test_plot_demo_puts_a_focal_plane_together(demo):
    module = demo("plot_demo")
    full = module.mosaic([np.full((2, 3), value) for value in range(4)], columns=2, gap=1)
    assert full.shape == (5, 7)
    np.testing.assert_array_equal(full[:2, 4:], 1)
    np.testing.assert_array_equal(full[3:, :3], 2)
    assert np.isnan(full[2]).all() and np.isnan(full[:, 3]).all()


def test_plot_demo_wants_one_image_or_three(tmp_path):
    command = [sys.executable, str(EXAMPLES / "plot_demo.py"), "out.png", "a.fits", "b.fits"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "give 1 image, or 3 (red, green, blue); got 2" in result.stderr


def test_demo_latents_finds_the_trails(tmp_path, demo, monkeypatch):
    module = demo("demo_latents", 48)
    monkeypatch.setattr(module, "LOOKED_AT", 4)
    monkeypatch.setattr(module, "NCOMPRESSED", 2)
    monkeypatch.setattr(module.compression, "OTHERS", 2)
    found, crossed = module.main()
    assert found > 1.5 * 4 * 4 * crossed.mean()
    folder = tmp_path / OUTPUT / "latents"
    for name in ("map.png", "map-prior.png", "map-traversals.png", "between.png", "sequence.png",
                 "hunt.png", "places/place.png", "compression.png"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
