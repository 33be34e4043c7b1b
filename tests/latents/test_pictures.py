"""Pictures are read as they are, and stretched to one level."""

import numpy as np
import pytest
from galsim.errors import GalSimValueError
from made_pictures import folder, pictures
from PIL import Image

from galsim_vae.latents.pictures import read_pictures, stretch


def test_a_folder_is_read_by_name(tmp_path):
    folder(tmp_path / "f", 5)
    (tmp_path / "f" / "notes.txt").write_text("no picture")
    found = read_pictures(tmp_path / "f")
    assert list(found.names) == [f"g{k:03d}" for k in range(5)]
    np.testing.assert_array_equal(found.array, pictures(5)[0])


def test_an_npz_file_keeps_its_columns(tmp_path):
    array, kind = pictures(6)
    votes = np.zeros((6, 3))
    np.savez(tmp_path / "a.npz", img=array, label=kind, votes=votes, group=[0, 0, 1, 1, 2, 2])
    found = read_pictures(tmp_path / "a.npz")
    assert list(found.columns) == ["label"] and list(found.group) == [0, 0, 1, 1, 2, 2]
    kept = found[found.columns["label"] == 2]
    assert len(kept) == 2 and list(kept.names) == ["2", "5"] and list(kept.group) == [1, 2]


def test_jpeg_bytes_of_an_npz_file(tmp_path):
    array, _ = pictures(3)
    raw = []
    for k, picture in enumerate(array):
        Image.fromarray(picture).save(tmp_path / f"{k}.jpg", quality=95)
        raw.append((tmp_path / f"{k}.jpg").read_bytes())
    jpeg = np.frombuffer(b"".join(raw), np.uint8)
    np.savez(tmp_path / "a.npz", jpeg=jpeg, jpeg_offset=np.cumsum([0, *map(len, raw)]))
    found = read_pictures(tmp_path / "a.npz").array
    assert np.abs(found.astype(float) - array).mean() < 4


def test_pictures_that_cannot_be_used(tmp_path):
    folder(tmp_path / "f", 2)
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "f" / "z.png")
    with pytest.raises(GalSimValueError, match="z.png is of another size"):
        read_pictures(tmp_path / "f")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="holds no pictures"):
        read_pictures(tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_text("no")
    with pytest.raises(OSError, match="a.png is not a picture"):
        read_pictures(tmp_path / "empty")
    for name, array, says in (
        ("linear", np.zeros((2, 64, 64)), "8 bits"),
        ("flat", np.zeros((2, 64, 32, 3), np.uint8), "square"),
        ("small", np.zeros((2, 16, 16), np.uint8), "at least 32"),
    ):
        np.savez(tmp_path / f"{name}.npz", img=array)
        with pytest.raises(GalSimValueError, match=says):
            read_pictures(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(OSError, match="neither img nor jpeg"):
        read_pictures(tmp_path / "other.npz")
    with pytest.raises(OSError, match="nothere"):
        read_pictures(tmp_path / "nothere.npz")


def test_the_stretch_takes_out_sky_and_brightness():
    array, _ = pictures(3)
    half = (array // 2 + 40).astype(np.uint8)
    one, other = stretch(array, 64, 3), stretch(half, 64, 3)
    assert np.abs(one - other).max() < 0.04
    assert abs(np.percentile(one[0].mean(0), 99.5) - 1) < 1e-5
    edge = np.ones((64, 64), bool)
    edge[3:-3, 3:-3] = False
    assert np.abs(np.median(one[:, :, edge], axis=2)).max() < 1e-6


def test_the_stretch_averages_pixels_over_their_area():
    small, _ = pictures(2)
    array = small.clip(1, 254).repeat(2, 1).repeat(2, 2)
    array[:, ::2, ::2] -= 1
    array[:, 1::2, ::2] += 1
    expected = stretch(small.clip(1, 254), 64, 3)
    np.testing.assert_allclose(stretch(array, 64, 3), expected, atol=1e-5)
    assert stretch(array[..., :1], 64, 3).shape == (2, 3, 64, 64)
    with pytest.raises(GalSimValueError, match="number of bands"):
        stretch(array[..., :2], 64, 3)
