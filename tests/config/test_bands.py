"""The same galaxies in several bands: the file that the documentation shows."""

import copy
import re

import galsim
import numpy as np
import pytest
import yaml
from astropy.table import Table
from places import ROOT

pytestmark = pytest.mark.usefixtures("generator")

CATALOGS = {"no catalogue": {}, "catalogue": {"input": {"vae_catalog": {"nobjects": 8, "seed": 5}}}}
KEYS = ("magnitude", "redshift", "g1", "id")


@pytest.fixture(params=CATALOGS.values(), ids=CATALOGS)
def fields(request, tmp_path):
    page = (ROOT / "docs" / "yaml.md").read_text()
    block = re.search(r"```yaml\n(# bands\.yaml\n.*?)```", page, re.DOTALL)
    fields = yaml.safe_load(block[1]) | copy.deepcopy(request.param)
    columns = {key: {"type": "VAEValue", "key": key} for key in KEYS}
    columns |= {"x": "$image_pos.x", "r": {"type": "VAEValue", "key": "mag_LSST_r"}}
    fields["output"]["truth"] = {"file_name": "$'truth_' + filter + '.fits'", "columns": columns}
    return fields


def draw(fields, folder, njobs=1):
    """Images and truths of the bands, drawn by so many jobs."""
    folder.mkdir()
    for job in range(1, njobs + 1):
        run = copy.deepcopy(fields)
        run["output"]["dir"] = run["output"]["truth"]["dir"] = str(folder)
        galsim.config.Process(run, njobs=njobs, job=job, except_abort=True)
    return (
        {band: galsim.fits.read(str(folder / f"field_{band}.fits")).array for band in "gri"},
        {band: Table.read(folder / f"truth_{band}.fits") for band in "gri"},
    )


def test_the_same_galaxies_in_every_band_and_job(fields, tmp_path):
    images, truths = draw(fields, tmp_path / "one")
    for band in "ri":
        for key in truths["g"].colnames:
            np.testing.assert_array_equal(truths[band][key], truths["g"][key])
    assert len(set(truths["g"]["magnitude"])) == 8
    for njobs in (2, 3):
        again, _ = draw(fields, tmp_path / str(njobs), njobs)
        for band in "gri":
            np.testing.assert_array_equal(again[band], images[band])


def test_noise_is_each_bands_own_and_light_is_not(fields, tmp_path):
    quiet = copy.deepcopy(fields)
    del quiet["image"]["noise"]
    light, _ = draw(quiet, tmp_path / "quiet")
    images, truths = draw(fields, tmp_path / "noisy")
    noise = {band: images[band] - light[band] for band in "gri"}
    assert np.corrcoef(noise["g"].ravel(), noise["r"].ravel())[0, 1] < 0.05
    assert noise["g"].std() == pytest.approx(2, rel=0.05)
    assert np.corrcoef(light["g"].ravel(), light["r"].ravel())[0, 1] > 0.8
