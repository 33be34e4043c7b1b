"""Maps as surveys have them: pixels without data, units, grids, PSFs, positions."""

import galsim
import made_field
import made_survey
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS
from made_field import MAGNITUDE, PHOTFLAM, PHOTPLAM, PLACES, RMS, SCALE, SIDE, ZEROPOINT

from galsim_vae.frame import canonical as frame
from galsim_vae.train.ingest import galaxy_row, ingest
from galsim_vae.train.readers import MosaicReader, StampReader, detection, mosaic, sky
from galsim_vae.train.readers.catalogue import Catalogue
from galsim_vae.train.readers.mosaic_image import MosaicImage
from galsim_vae.train.readers.psf import build_psf

HST = {"ZPT_AB": None, "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM}


def inside(border: int):
    return np.pad(np.ones((SIDE - 2 * border,) * 2, dtype=bool), border)


# Pixels without data


@pytest.mark.parametrize("border", [20, 60])
@pytest.mark.parametrize(
    ("noise_map", "image_value", "noise_value"),
    [
        ("rms", 0.0, 1e10), ("rms", 0.0, np.inf), ("rms", 0.0, np.nan), ("rms", 0.0, 0.0),
        ("rms", 0.0, RMS), ("rms", np.nan, RMS), ("rms", -99.0, 1.0), ("rms", -1e30, RMS),
        ("rms", None, 1e10), ("rms", None, -1.0), ("rms", None, 1e-20), ("rms", 1e30, RMS),
        ("weight", 0.0, 0.0), ("weight", 0.0, 1e-20), ("weight", None, -1.0),
        ("weight", None, 1e-12), ("weight", np.inf, RMS**-2), ("weight", None, 1e30),
    ],
)  # fmt: skip
def test_sentinels_are_not_data(tmp_path, border, noise_map, image_value, noise_value):
    good = inside(border)

    def edit(image, noise):
        if image_value is not None:
            image = np.where(good, image, image_value)
        return image, np.where(good, noise, noise_value)

    band = made_field.band(tmp_path, edit=edit, noise_map=noise_map)
    found, rows = made_field.read({"F814W": band})
    assert [reason for _, reason in rows] == [""] * 4
    for source, (row, _) in zip(found, rows, strict=True):
        assert row["magnitude"] == pytest.approx(MAGNITUDE, abs=0.04)
        assert source.observation.noise["F814W"] == pytest.approx(RMS, rel=0.03)
        mask = source.observation.mask["F814W"]
        assert mask.all() or mask.mean() > 0.5


def test_a_lone_zero_is_a_value_and_a_gap_is_not(tmp_path):
    """Integers with BSCALE and BZERO: many pixels are 0 by rounding."""
    image, rms = made_field.arrays()
    path = tmp_path / "quantised.fits"
    image[:, 200:206] = 0.0
    hdu = fits.ImageHDU(image.astype("f4"), made_field.header(), "SCI")
    hdu.scale("int16", bscale=0.004, bzero=0.0)
    noise = fits.ImageHDU(rms.astype("f4"), made_field.header(), "RMS")
    fits.HDUList([fits.PrimaryHDU(), hdu, noise]).writeto(path)
    band = {"image": f"{path}[SCI]", "rms": f"{path}[RMS]", "psf": made_field.psf_config()}
    reader = MosaicReader("field", {"F814W": band})
    reader.check()
    data, error = reader.cut("F814W", (slice(None), slice(None)))
    assert np.mean(data[:, :200] == 0) > 0.1
    good = sky.usable(data, error)
    # A run of zeros beside the gap goes with it.
    assert good[:, :200].mean() > 0.99 and good[:, 206:].mean() > 0.99
    assert not good[:, 200:206].any()
    assert len(made_field.taken({"F814W": band})) == 4


def test_a_map_that_is_mostly_sentinels_is_read_where_there_are_data(tmp_path):
    """Three quarters of the mosaic are not exposed, and hold noise with an rms of 1e10."""
    good = np.zeros((SIDE, SIDE), dtype=bool)
    good[:210, :210] = True
    band = made_field.band(tmp_path, edit=lambda s, r: (s, np.where(good, r, 1e10)))
    (row,) = made_field.taken({"F814W": band})
    assert row["magnitude"] == pytest.approx(MAGNITUDE, abs=0.04)


def test_noise_of_zero_is_refused(tmp_path):
    band = made_field.band(tmp_path, edit=lambda s, r: (s, 0 * r))
    with pytest.raises(galsim.GalSimValueError, match="NOISE.*nothing but NaN or 0"):
        MosaicReader("field", {"F814W": band}).check()


# Bands that cover a part


@pytest.mark.parametrize("column", [210, 300, 306, 315, 330])
def test_a_band_that_covers_a_part_is_masked_there(tmp_path, column):
    off = np.arange(SIDE)[None, :] >= column
    infrared = made_field.band(
        tmp_path, "f160w", 0.18, 2, lambda s, r: (np.where(off, 0, s), np.where(off, 1e10, r))
    )
    found, rows = made_field.read({"F814W": made_field.band(tmp_path), "F160W": infrared})
    assert len(found) == 4 and [reason for _, reason in rows] == [""] * 4
    for source, (row, _) in zip(found, rows, strict=True):
        assert row["magnitude"] == pytest.approx(MAGNITUDE, abs=0.04)
        assert row["mask"][2].mean() > 0.9
        x = source.index % SIDE
        share = row["mask"][4].mean()
        # Half-light radius 6.7 pixels: seen whole, or not enough of it to be used.
        assert share > 0.9 if x < 200 else share == 0 if column < 312 else share < 0.9


def test_the_geometry_is_that_of_a_band_that_shows_the_whole_galaxy(tmp_path):
    """F814W ends at the centre of two galaxies, which are measured in F160W."""
    off = np.arange(SIDE)[None, :] >= 307
    optical = made_field.band(
        tmp_path, edit=lambda s, r: (np.where(off, 0, s), np.where(off, 0, r))
    )
    rows = made_field.taken(
        {"F814W": optical, "F160W": made_field.band(tmp_path, "f160w", 0.18, 2)}
    )
    assert len(rows) == 4
    for row in rows:
        assert row["half_light_radius"] == pytest.approx(0.4, rel=0.08)
    filters = [row["filters"] for row in rows]
    assert filters.count(["", "", "F814W", "", "F160W"]) == 2
    assert filters.count(["", "", "", "", "F160W"]) == 2


# One object fails


def test_the_failure_of_one_object_is_counted_and_of_the_machine_is_not(tmp_path, monkeypatch):
    bands = {"F814W": made_field.band(tmp_path)}
    whole = frame.to_canonical

    def fails(error):
        done = []

        def to_canonical(observation, geometry):
            done.append(1)
            if len(done) == 2:
                raise error
            return whole(observation, geometry)

        monkeypatch.setattr(frame, "to_canonical", to_canonical)

    errors = (
        *(ZeroDivisionError("x"), galsim.GalSimValueError("zero total flux", 0)),
        *(np.linalg.LinAlgError("singular"), IndexError("far"), OSError("not FITS")),
    )
    for error in errors:
        fails(error)
        counts = ingest([MosaicReader("field", bands)], tmp_path / "real.h5")
        assert counts == {("field", ""): 3, ("field", f"failed ({type(error).__name__})"): 1}
    fails(OSError(28, "no space"))
    with pytest.raises(OSError, match="no space"):
        ingest([MosaicReader("field", bands)], tmp_path / "real.h5")


def test_a_tile_that_fails_is_counted(tmp_path, monkeypatch):
    def overflows(*arguments):
        raise RuntimeError("object deblending overflow")

    table = Table({"x": [110.0, 310.0], "y": [110.0, 310.0]})
    table.write(tmp_path / "c.fits")
    bands = {"F814W": made_field.band(tmp_path)}
    monkeypatch.setattr(detection, "find", overflows)
    found, rows = made_field.read(bands, {"file_name": str(tmp_path / "c.fits")})
    assert [reason for _, reason in rows] == ["failed (RuntimeError)"] * 2
    found, rows = made_field.read(bands)
    assert [reason for _, reason in rows] == ["failed (RuntimeError)"]


# Units


def zeropoint(tmp_path, given=None, primary=None, **keys):
    """AB zero-point of an image with these keywords."""
    path = tmp_path / "unit.fits"
    made = made_field.header(**keys)
    first = fits.PrimaryHDU(header=fits.Header(list((primary or {}).items())))
    fits.HDUList([first, fits.ImageHDU(np.ones((20, 20), "f4"), made, "SCI")]).writeto(
        path, overwrite=True
    )
    return MosaicImage(f"{path}[SCI]").calibration().zeropoint(given)


AREA = np.radians(SCALE / 3600) ** 2


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        # Flux densities need nothing else.
        ({"BUNIT": "Jy"}, 8.9), ({"BUNIT": "nJy"}, 31.4), ({"BUNIT": "10nJy"}, 28.9),
        ({"BUNIT": "10*nJy"}, 28.9), ({"BUNIT": "10 nJy"}, 28.9), ({"BUNIT": "1e-8 Jy"}, 28.9),
        ({"BUNIT": "uJy"}, 23.9), ({"BUNIT": "microJy"}, 23.9), ({"BUNIT": "NJY"}, 31.4),
        ({"BUNIT": "nJy/pixel"}, 31.4), ({"BUNIT": "nanomaggies"}, 22.5),
        ({"BUNIT": "MJy/sr"}, 8.9 - 15 - 2.5 * np.log10(AREA)),
        ({"BUNIT": "MJY/SR"}, 8.9 - 15 - 2.5 * np.log10(AREA)),
        ({"BUNIT": "Jy/arcsec2"}, 8.9 - 2.5 * np.log10(SCALE**2)),
        ({"BUNIT": "erg/s/cm2/Hz"}, -48.6),
        ({"BUNIT": "erg/s/cm2/A", "PHOTPLAM": PHOTPLAM}, -5 * np.log10(PHOTPLAM) - 2.408),
        # Zero-points of the values as they are.
        ({"BUNIT": "ADU", "MAGZERO": 27.0}, 27.0), ({"BUNIT": "counts", "MAGZERO": 27.0}, 27.0),
        ({"BUNIT": "counts", "MAGZERO": 27.0, "EXPTIME": 900.0}, 27.0),
        ({"BUNIT": None, "MAGZPT": 27.0}, 27.0), ({"BUNIT": "", "FLUXMAG0": 1e10}, 25.0),
        ({"BUNIT": "ELECTRONS/S", "ZPT_AB": ZEROPOINT}, ZEROPOINT),
        ({"BUNIT": "nJy", "MAGZERO": 31.4}, 31.4),
        # HST's are of one second.
        (HST | {"BUNIT": "ELECTRONS/S", "EXPTIME": 2000.0}, ZEROPOINT),
        (HST | {"BUNIT": "cps", "EXPTIME": 2000.0}, ZEROPOINT),
        (HST | {"BUNIT": "ELECTRONS", "EXPTIME": 2000.0}, ZEROPOINT + 2.5 * np.log10(2000)),
        (HST | {"BUNIT": "e-", "EXPTIME": 2000.0}, ZEROPOINT + 2.5 * np.log10(2000)),
        (HST | {"BUNIT": "DN", "EXPTIME": 2000.0}, ZEROPOINT + 2.5 * np.log10(2000)),
        (HST | {"BUNIT": "ELECTRONS", "EXPTIME": 2000.0, "ZPT_AB": ZEROPOINT},
         ZEROPOINT + 2.5 * np.log10(2000)),
        (HST | {"BUNIT": "ELECTRONS/S", "PHOTFLAM": None, "PHOTFNU": 3631 * 10**-10.4}, 26.0),
        (HST | {"BUNIT": "ADU/S", "GAIN": 2.0, "PHOTFLAM": (PHOTFLAM, "ergs/cm2/A/electron")},
         ZEROPOINT - 2.5 * np.log10(2)),
        (HST | {"BUNIT": "ADU/S", "GAIN": 2.0, "PHOTFLAM": (PHOTFLAM, "ergs/cm2/A/DN")},
         ZEROPOINT),
        ({"BUNIT": "ELECTRONS/S"}, None), ({"BUNIT": None}, None),
    ],
)  # fmt: skip
def test_units_give_the_zero_point(tmp_path, keys, expected):
    found = zeropoint(tmp_path, **{"ZPT_AB": None, "PHOTPLAM": None, **keys})
    assert found is expected if expected is None else found == pytest.approx(expected, abs=2e-3)


def test_keywords_of_the_file_hold_for_its_images(tmp_path):
    found = zeropoint(tmp_path, primary={"EXPTIME": 100.0}, **HST, BUNIT="ELECTRONS")
    assert found == pytest.approx(ZEROPOINT + 5, abs=2e-3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (HST | {"BUNIT": "ELECTRONS"}, "no EXPTIME"),
        (HST | {"BUNIT": "ELECTRONS", "EXPTIME": 0.0}, "no EXPTIME"),
        ({"BUNIT": "ELECTRONS", "EXPTIME": 2000.0, "ZPT_AB": ZEROPOINT}, "that of one second"),
        (HST | {"BUNIT": "ADU/S", "GAIN": 2.0}, "of an electron or of a count"),
        ({"BUNIT": "nJy", "ZPT_AB": ZEROPOINT}, "makes the AB zero-point 31.400, but 25.947"),
        (HST | {"BUNIT": "ELECTRONS/S", "ZPT_AB": 30.0}, "but 30.000 is given"),
        ({"BUNIT": "Jy/beam"}, "not one of a flux"), ({"BUNIT": "mag"}, "not one of a flux"),
        ({"BUNIT": "s"}, "not one of a flux"), ({"BUNIT": "ELECTRONS**2"}, "not one of a flux"),
        ({"BUNIT": "furlongs"}, "not understood"), ({"BUNIT": "MJY"}, "not understood"),
        ({"BUNIT": "erg/s/cm2/A"}, "no PHOTPLAM"),
        ({"BUNIT": "MJy/sr", "CTYPE1": None, "CTYPE2": None}, "no pixel scale"),
    ],
)  # fmt: skip
def test_units_that_cannot_be_converted_are_refused(tmp_path, keys, message):
    with pytest.raises(galsim.GalSimValueError, match=message):
        zeropoint(tmp_path, **{"ZPT_AB": None, **keys})


def test_a_zero_point_that_is_given_is_of_the_values_as_they_are(tmp_path):
    def given(value, **keys):
        return zeropoint(tmp_path, value, **{"ZPT_AB": None, **keys})

    assert given(30.0, BUNIT="ELECTRONS", EXPTIME=2000.0) == 30.0
    assert given(30.0, BUNIT="furlongs") == 30.0
    assert given(30.0, **HST, BUNIT="ELECTRONS", EXPTIME=2000.0) == 30.0
    assert given(31.4, BUNIT="nJy") == pytest.approx(31.4, abs=1e-3)
    with pytest.raises(galsim.GalSimValueError, match="but 25.947 is given"):
        given(ZEROPOINT, **HST, BUNIT="ELECTRONS", EXPTIME=2000.0)
    with pytest.raises(galsim.GalSimValueError, match="but 25.900 is given"):
        given(25.9, BUNIT="nJy")


def in_unit(tmp_path, factor, noise_factor=None, **keys):
    """The field in another unit."""
    return made_field.band(
        tmp_path,
        edit=lambda s, r: (factor * s, (noise_factor or factor) * r),
        **{"ZPT_AB": None, **keys},
    )


@pytest.mark.parametrize(
    ("factor", "noise_factor", "keys"),
    [
        (2000.0, None, HST | {"BUNIT": "ELECTRONS", "EXPTIME": 2000.0}),
        (10 ** (0.4 * (31.4 - ZEROPOINT)), None, {"BUNIT": "nJy"}),
        (10 ** (0.4 * (28.9 - ZEROPOINT)), None, {"BUNIT": "10nJy"}),
        # The noise map is in another unit than the image.
        (10 ** (0.4 * (31.4 - ZEROPOINT)), 10 ** (0.4 * (23.9 - ZEROPOINT)),
         {"BUNIT": "nJy", "noise_keys": {"BUNIT": "uJy"}}),
        (2000.0, 1.0, HST | {"BUNIT": "ELECTRONS", "EXPTIME": 2000.0,
                             "noise_keys": {"BUNIT": "ELECTRONS/S"}}),
    ],
)  # fmt: skip
def test_the_unit_does_not_change_a_galaxy(tmp_path, factor, noise_factor, keys):
    plain = made_field.taken({"F814W": made_field.band(tmp_path)})
    rows = made_field.taken({"F814W": in_unit(tmp_path, factor, noise_factor, **keys)})
    for name in ("magnitude", "half_light_radius", "g"):
        expected = [row[name] for row in plain]
        assert [row[name] for row in rows] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    noise, expected = ([row["noise"][2] for row in some] for some in (rows, plain))
    assert noise == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("noise_map", "unit", "message"),
    [("rms", "s", "another unit"), ("rms", "nJy", "another unit"), ("weight", "s", "another unit"),
     ("rms", "ELECTRONS**2/S**2", "another unit"), ("weight", "1/nJy2", "another unit")],
)  # fmt: skip
def test_a_noise_map_of_another_unit_is_refused(tmp_path, noise_map, unit, message):
    band = made_field.band(tmp_path, noise_map=noise_map, noise_keys={"BUNIT": unit})
    with pytest.raises(galsim.GalSimValueError, match=message):
        MosaicReader("field", {"F814W": band}).check()


# Grids


def with_wcs(tmp_path, name, seed=1, noise_keys=None, edit=None, **keys):
    return made_field.band(
        tmp_path, name, 0.09 if name == "f814w" else 0.18, seed, edit, noise_keys=noise_keys, **keys
    )


STEP = SCALE / 3600


@pytest.mark.parametrize(
    ("keys", "noise_keys", "offset"),
    [
        ({"CRPIX1": 230.0}, None, 20.0), ({"CRPIX2": 210.5}, None, 0.5),
        ({"CRVAL2": -27.8 + 3 * STEP}, None, 3.0),
        ({"CD1_1": -STEP * 1.01, "CD2_2": STEP * 1.01}, None, 2.9),
        ({"CD1_1": STEP}, None, 420.0), ({"CRVAL1": 153.1}, None, None),
        ({"CD1_1": -STEP * np.cos(0.01), "CD2_2": STEP * np.cos(0.01), "CD1_2": STEP * np.sin(0.01),
          "CD2_1": STEP * np.sin(0.01)}, None, 2.9),
        ({}, {"CRPIX1": 211.0}, 1.0),
    ],
)  # fmt: skip
def test_bands_on_other_grids_are_refused(tmp_path, keys, noise_keys, offset):
    other = with_wcs(tmp_path, "f160w", 2, noise_keys, **keys)
    bands = {"F814W": with_wcs(tmp_path, "f814w"), "F160W": other}
    with pytest.raises(galsim.GalSimValueError, match="not on the pixel grid"):
        MosaicReader("field", bands).check()


@pytest.mark.parametrize(
    "keys",
    [
        {"CRPIX1": 210.05},
        # The same in another way of writing, and about another point.
        {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": -STEP,
         "CDELT2": STEP, "PC1_1": 1.0, "PC2_2": 1.0},
        {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": -STEP,
         "CDELT2": STEP, "CROTA2": 0.0},
        {"CTYPE1": None, "CTYPE2": None, "PIXSCALE": SCALE},
    ],
)  # fmt: skip
def test_one_grid_may_be_written_in_many_ways(tmp_path, keys):
    bands = {"F814W": with_wcs(tmp_path, "f814w"), "F160W": with_wcs(tmp_path, "f160w", 2, **keys)}
    MosaicReader("field", bands).check()


def test_other_pixel_scales_are_refused(tmp_path):
    plain = {"CTYPE1": None, "CTYPE2": None}
    bands = {"F814W": with_wcs(tmp_path, "f814w", PIXSCALE=0.06, **plain),
             "F160W": with_wcs(tmp_path, "f160w", 2, PIXSCALE=0.065, **plain)}  # fmt: skip
    with pytest.raises(galsim.GalSimValueError, match="one pixel grid"):
        MosaicReader("field", bands).check()


SWAPPED = {
    "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -27.8, "CRVAL2": 53.1,
    "CD1_1": 0.0, "CD1_2": STEP, "CD2_1": -STEP, "CD2_2": 0.0,
}  # fmt: skip
CENTRE = SkyCoord(53.1, -27.8, unit="deg").galactic
GALACTIC = {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": CENTRE.l.deg,
            "CRVAL2": CENTRE.b.deg}  # fmt: skip
PC = {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": STEP, "CDELT2": STEP,
      "PC1_1": -0.8, "PC1_2": -0.6, "PC2_1": -0.6, "PC2_2": 0.8}  # fmt: skip
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
       "A_2_0": 2e-5, "B_1_1": -1e-5}  # fmt: skip


@pytest.mark.parametrize("keys", [{}, SWAPPED, GALACTIC, PC, SIP, {"RADESYS": "FK5"}],
                         ids=["RA", "DEC first", "galactic", "PC", "SIP", "FK5"])  # fmt: skip
def test_axes_of_the_sky_come_in_any_order_and_frame(tmp_path, keys):
    """Positions and shapes agree with what astropy makes of the header."""
    band = made_field.band(tmp_path, **keys)
    wcs = WCS(made_field.header(**keys))
    sky_places = wcs.pixel_to_world(*np.array(PLACES, dtype=float).T).icrs
    Table({"ra": sky_places.ra.deg, "dec": sky_places.dec.deg}).write(tmp_path / "c.fits")
    reader = MosaicReader("field", {"F814W": band}, {"file_name": str(tmp_path / "c.fits")})
    reader.check()
    found = [source for chunk in range(len(reader)) for source in reader.read(chunk)]
    assert len(found) == 4
    for source in found:
        row, reason = galaxy_row(source, 1)
        assert reason == "" and row["magnitude"] == pytest.approx(MAGNITUDE, abs=0.04)
        assert row["half_light_radius"] == pytest.approx(0.4, rel=0.1)
    local = found[0].observation.wcs["F814W"]
    x, y = PLACES[0]
    origin = wcs.pixel_to_world(x, y)
    for step, pair in (((1, 0), (local.dudx, local.dvdx)), ((0, 1), (local.dudy, local.dvdy))):
        there = wcs.pixel_to_world(x + step[0], y + step[1])
        east, north = (angle.arcsec for angle in origin.spherical_offsets_to(there))
        assert pair == pytest.approx((-east, north), abs=2e-4)


def test_positions_off_the_mosaic_of_a_distorted_field_are_named(tmp_path):
    band = made_field.band(tmp_path, **SIP)
    path = tmp_path / "c.fits"
    Table({"ra": [53.1, 54.5, 233.1, 53.1], "dec": [-27.8, -27.8, 27.8, 89.0]}).write(path)
    _, rows = made_field.read({"F814W": band}, {"file_name": str(path)})
    assert [r for _, r in rows] == ["not detected", *["off the mosaic"] * 3]


# Files


def test_bands_may_be_hdus_of_one_compressed_file(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for k, (name, fwhm) in enumerate((("F814W", 0.09), ("F160W", 0.18))):
        image, rms = made_field.arrays(fwhm, k + 1)
        image[:, :20] = np.nan
        for kind, array in ((name, image), (f"{name}_RMS", rms)):
            keys = {"compression_type": "RICE_1", "quantize_level": 16}
            hdus.append(fits.CompImageHDU(array.astype("f4"), made_field.header(), kind, **keys))
    path = tmp_path / "field.fits.fz"
    fits.HDUList(hdus).writeto(path)
    bands = {name: {"image": f"{path}[{name}]", "rms": f"{path}[{name}_RMS]",
                    "psf": made_field.psf_config(fwhm)}
             for name, fwhm in (("F814W", 0.09), ("F160W", 0.18))}  # fmt: skip
    rows = made_field.taken(bands)
    assert [row["filters"] for row in rows] == [["", "", "F814W", "", "F160W"]] * 4
    assert [row["magnitude"] for row in rows] == pytest.approx([MAGNITUDE] * 4, abs=0.04)


def test_integers_are_scaled_and_their_blanks_are_not_data(tmp_path):
    image, rms = made_field.arrays()
    hdus = [fits.PrimaryHDU()]
    for name, array, step in (("SCI", image, 2e-4), ("RMS", rms, 1e-5)):
        values = np.rint((array - 3.0) / step).astype(np.int32)
        values[:40] = -(2**31)
        hdu = fits.ImageHDU(values, made_field.header(), name)
        hdu.header["BLANK"], hdu.header["BSCALE"], hdu.header["BZERO"] = -(2**31), step, 3.0
        hdus.append(hdu)
    path = tmp_path / "integers.fits"
    fits.HDUList(hdus).writeto(path)
    with fits.open(path) as check:
        assert np.isnan(check["SCI"].data[0, 0])
    band = {"image": f"{path}[SCI]", "rms": f"{path}[RMS,1]", "psf": made_field.psf_config()}
    rows = made_field.taken({"F814W": band})
    assert [row["magnitude"] for row in rows] == pytest.approx([MAGNITUDE] * 4, abs=0.04)
    with pytest.raises(galsim.GalSimKeyError, match="no such HDU"):
        MosaicImage(f"{path}[SCI,2]")


# PSFs


def psf_file(tmp_path, scale, **keys):
    array = made_field.psf().drawImage(nx=101, ny=101, scale=scale, method="no_pixel").array
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.ones((5, 5)), name="OTHER"),
            fits.ImageHDU(array, fits.Header(list(keys.items())), "PSF")]  # fmt: skip
    fits.HDUList(hdus).writeto(tmp_path / "psf.fits", overwrite=True)
    return f"{tmp_path / 'psf.fits'}[PSF]"


def moments(profile):
    image = profile.drawImage(nx=121, ny=121, scale=0.02, method="no_pixel")
    return galsim.hsm.FindAdaptiveMom(image)


@pytest.mark.parametrize(
    ("scale", "keys"),
    [
        (0.06, {}), (0.015, {"PIXSCALE": 0.015}), (0.03, {"PIXELSCL": 0.03}),
        (0.02, {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0,
                "CRPIX1": 51.0, "CRPIX2": 51.0, "CD1_1": -0.02 / 3600, "CD2_2": 0.02 / 3600}),
    ],
)  # fmt: skip
def test_a_psf_is_sampled_as_its_file_says(tmp_path, scale, keys):
    made = moments(build_psf(psf_file(tmp_path, scale, **keys), "F814W", SCALE))
    assert made.moments_sigma == pytest.approx(moments(made_field.psf()).moments_sigma, rel=0.015)


def test_a_psf_lies_along_the_axes_of_its_mosaic(tmp_path):
    """Stars of a turned mosaic and the PSF cut out of it have one shape on the sky."""
    flat = galsim.Convolve(galsim.Gaussian(fwhm=0.15).shear(g1=0.2, g2=0.1), galsim.Pixel(SCALE))
    turned = galsim.JacobianWCS(-0.048, 0.036, 0.036, 0.048)
    array = flat.drawImage(nx=61, ny=61, wcs=turned, method="no_pixel").array
    made = build_psf(array, "F814W", turned)
    seen, true = moments(made), moments(flat)
    assert seen.observed_shape.g1 == pytest.approx(true.observed_shape.g1, abs=0.005)
    assert seen.observed_shape.g2 == pytest.approx(true.observed_shape.g2, abs=0.005)


def test_a_psf_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "bad.fits"
    for array in (np.full((31, 31), np.nan), np.zeros((31, 31)), np.ones((3, 31, 31))):
        fits.PrimaryHDU(array).writeto(path, overwrite=True)
        with pytest.raises(galsim.GalSimValueError, match=r"bad\.fits"):
            build_psf(str(path), "F814W", SCALE)
    with pytest.raises(OSError, match="/nowhere.fits"):
        build_psf("/nowhere.fits", "F814W", SCALE)
    with pytest.raises(galsim.GalSimKeyError, match="no such HDU"):
        build_psf(f"{path}[PSF]", "F814W", SCALE)


# Positions


def sky_of_places():
    return WCS(made_field.header()).pixel_to_world(*np.array(PLACES, dtype=float).T)


def reasons(tmp_path, table, **catalogue):
    path = tmp_path / "catalogue.ecsv"
    table.write(path, overwrite=True)
    band = made_field.band(tmp_path)
    found, rows = made_field.read({"F814W": band}, {"file_name": str(path), **catalogue})
    return {s.index: reason for s, (_, reason) in zip(found, rows, strict=True)}


def columns(form):
    at = sky_of_places()
    if form == "colons":
        return {"ra": at.ra.to_string("hour", sep=":", precision=4),
                "dec": at.dec.to_string("deg", sep=":", precision=3)}  # fmt: skip
    if form == "spaces":
        return {"ra": at.ra.to_string("hour", sep=" ", precision=4),
                "dec": at.dec.to_string("deg", sep=" ", precision=3)}  # fmt: skip
    if form == "letters":
        return {"ra": at.ra.to_string("hour", precision=4), "dec": at.dec.to_string("deg")}
    if form == "text":
        return {"ra": [f"{a:.7f}" for a in at.ra.deg], "dec": [f"{a:.7f}" for a in at.dec.deg]}
    if form == "radian":
        return {"ra": at.ra.to("rad"), "dec": at.dec.to("rad")}
    if form == "hourangle":
        return {"ra": at.ra.to("hourangle"), "dec": at.dec}
    if form == "negative":
        return {"ra": at.ra.deg - 360, "dec": at.dec.deg}
    return {"ra": at.ra.deg.astype(">f8"), "dec": at.dec.deg.astype(">f8")}


@pytest.mark.parametrize(
    "form",
    ["colons", "spaces", "letters", "text", "radian", "hourangle", "negative", "big-endian"],
)
def test_sky_positions_come_in_many_forms(tmp_path, form):
    assert reasons(tmp_path, Table(columns(form))) == dict.fromkeys(range(4), "")


def test_rows_without_a_position_and_off_the_mosaic_are_counted(tmp_path):
    at = sky_of_places()
    ra, dec = at.ra.deg, at.dec.deg
    table = Table({
        "ra": MaskedColumn([*ra, ra[0], np.nan, -99.0, 10.0, ra[0]], mask=[0] * 8 + [1]),
        "dec": [*dec, dec[0], dec[0], -99.0, 10.0, dec[0]],
        "id": MaskedColumn([11, 12, 13, 14, 15, 16, 17, 18, 19], mask=[0] * 8 + [1]),
    })  # fmt: skip
    expected = dict.fromkeys(range(4), "")
    expected |= {4: "same object as another row", 7: "off the mosaic"}
    expected |= dict.fromkeys((5, 6, 8), "no position")
    assert reasons(tmp_path, table) == expected


def test_masked_pixel_positions_are_counted(tmp_path):
    x, y = np.array(PLACES, dtype=float).T + 1
    table = Table({"x": MaskedColumn([*x, 5], mask=[0] * 4 + [1], dtype=int), "y": [*y, 9.0]})
    table["z_best"] = MaskedColumn([1, 2, 3, 4, 5], mask=[1, 0, 0, 0, 0])
    assert reasons(tmp_path, table) == dict.fromkeys(range(4), "") | {4: "no position"}
    path = tmp_path / "catalogue.ecsv"
    catalogue = Catalogue(str(path))
    assert np.isnan(catalogue.row(0).redshift) and catalogue.row(1).redshift == 2.0


def test_columns_that_hold_no_numbers_are_named(tmp_path):
    x, y = np.array(PLACES, dtype=float).T + 1
    with pytest.raises(galsim.GalSimValueError, match="column y must hold numbers"):
        reasons(tmp_path, Table({"x": x, "y": ["a", "b", "c", "d"]}))
    with pytest.raises(galsim.GalSimValueError, match="column ra holds no positions"):
        reasons(tmp_path, Table({"ra": ["a", "b", "c", "d"], "dec": y}))


def test_an_object_on_the_border_of_two_tiles_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.setattr(mosaic, "TILE", 210)
    x, y = np.array(PLACES, dtype=float).T + 1
    band = made_field.band(tmp_path, edit=lambda s, r: (np.roll(s, 101, 1), r))
    path = tmp_path / "c.fits"
    # The galaxy at 109 lies at 210: one row is left of the border, one right of it.
    Table({"x": [210.0, 211.6], "y": [110.0, 110.0]}).write(path)
    _, rows = made_field.read({"F814W": band}, {"file_name": str(path)})
    assert sorted(reason for _, reason in rows) == ["", "same object as another row"]


def test_big_endian_stamps_and_fills_in_stamps(tmp_path):
    path = made_survey.stamps(tmp_path)
    with np.load(path) as file:
        arrays = {k: v.astype(v.dtype.newbyteorder(">")) if v.dtype.kind == "f" else v
                  for k, v in file.items()}  # fmt: skip
    arrays["img"][0, :, :20] = 0.0
    arrays["img"][1, :, :, :20] = -99.0
    arrays["x"][2] = np.nan
    np.savez(path, **arrays)
    reader = StampReader("s", str(path), made_survey.PSF_CONFIGS["F160W"])
    reader.check()
    found = list(reader.read(0))
    rows = [galaxy_row(source, 1) for source in found]
    assert [bool(reason) for _, reason in rows] == [False, False, True, False, False]
    whole = found[3].observation.noise["F606W"]
    for source, fill in ((found[0], np.s_[:20]), (found[1], np.s_[:, :20])):
        assert not source.observation.mask["F606W"][fill].any()
        assert source.observation.noise["F606W"] == pytest.approx(whole, rel=0.05)


def test_a_stamp_without_noise_is_rejected(tmp_path):
    path = made_survey.stamps(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["img"][0] = np.where(arrays["img"][0] > 0.1, arrays["img"][0], 0)
    np.savez(path, **arrays)
    reader = StampReader("s", str(path), made_survey.PSF_CONFIGS["F160W"])
    reasons = [galaxy_row(source, 1)[1] for source in reader.read(0)]
    assert reasons == ["no noise", "", "", "", ""]
