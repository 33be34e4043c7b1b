"""`Stamps.save` and `Stamps.load`."""

import os
import subprocess
import sys

import galsim
import numpy as np
import pytest
from safetensors.numpy import save_file
from stub_generator import TABLE, StubGenerator

from galsim_vae import Stamps


@pytest.fixture
def path(tmp_path):
    return tmp_path / "galaxies.safetensors"


def test_what_is_loaded_is_what_was_saved(path):
    table = TABLE | {"id": [5, 2, 9, 7], "mag_F606W": [23.0, 24.0, 26.0, 25.0]}
    stamps = StubGenerator().sample(table, galsim.BaseDeviate(3))
    stamps = Stamps(*(getattr(stamps, name) for name in ("array", "conditions", "jacobian",
                                                         "offset", "bands")), "abc")  # fmt: skip
    stamps[::2].save(path)
    found = Stamps.load(path)
    assert (found.bands, found.sha256, len(found)) == (stamps.bands, "abc", 2)
    for name in ("array", "jacobian", "offset"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stamps, name)[::2])
    np.testing.assert_array_equal(found.conditions.id, [5, 9])
    np.testing.assert_array_equal(found.conditions.band_magnitudes["F606W"], [23.0, 26.0])
    for band in ("F814W", "LSST_r"):
        assert found.galaxy(1, band, 30.0) == stamps.galaxy(2, band, 30.0)


def test_a_file_that_is_broken(path, stamps):
    stamps.save(path)
    whole = path.read_bytes()
    for cut in (0, 5, 300, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(OSError, match=r"galaxies\.safetensors: not a complete"):
            Stamps.load(path)
    for place in (len(whole) // 2, len(whole) - 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(galsim.GalSimValueError, match="changed or damaged"):
            Stamps.load(path)
    path.write_bytes(whole)
    np.testing.assert_array_equal(Stamps.load(path).array, stamps.array)


def test_other_files(path):
    with pytest.raises(FileNotFoundError):
        Stamps.load(path)
    save_file({"array": np.zeros(3)}, path)
    with pytest.raises(OSError, match="no stamps of galsim_vae"):
        Stamps.load(path)


def test_a_file_is_whole_or_not_there(path, stamps, monkeypatch):
    def fails(tensors, place, metadata):
        place.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.numpy.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        stamps.save(path)
    assert os.listdir(path.parent) == []
    with pytest.raises(OSError, match="no folder"):
        stamps.save(path.parent / "nowhere" / "a.safetensors")


def test_a_file_of_another_kind_is_not_replaced(tmp_path, stamps):
    images = tmp_path / "galaxies.fits"
    images.write_bytes(b"images")
    with pytest.raises(FileExistsError, match=r"galaxies\.fits is there already"):
        stamps.save(images)
    assert images.read_bytes() == b"images"
    for _ in range(2):
        stamps.save(tmp_path / "galaxies.safetensors")


def test_stamps_are_loaded_without_torch(path, stamps):
    stamps.save(path)
    code = (
        f"import sys; from galsim_vae import Stamps; print(len(Stamps.load({str(path)!r})));"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
