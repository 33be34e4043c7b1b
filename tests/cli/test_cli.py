"""The command galsim-vae."""

import tomllib
import warnings

import galsim
import made_survey
import numpy as np
import pytest
import stub_generator
from astropy.io import fits
from astropy.table import QTable
from places import ROOT

import galsim_vae.generator
from galsim_vae import cli
from galsim_vae.cli.call import split
from galsim_vae.cli.main import COMMANDS, module_of
from galsim_vae.train import training_file as dataset


def test_entry_point_and_table_of_commands_resolve():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["galsim-vae"] == "galsim_vae.cli:main"
    assert all(callable(module_of(name).run) for name in COMMANDS)


def test_help_version_and_no_command(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert cli.main(["--version"]) == 0
    assert "galsim_vae" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["sample", "-v", "4"])


def test_variables_are_read_as_yaml():
    files, variables = split(["a.yaml", "x=1", "y.z=[a, b]", "w=true", "/p/q=r.h5"])
    assert files == ["a.yaml", "/p/q=r.h5"]
    assert variables == {"x": 1, "y.z": ["a", "b"], "w": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "n=3"], "output is missing: give output="),
        (["sample", "output=x.ecsv", "number=3"], "Unknown key"),
        (["sample", "output=x.txt"], "must end in"),
        (["sample", "output=nofolder/x.ecsv"], "no folder nofolder"),
        (["sample", "output=x.ecsv", "n=abc"], "n must be a whole number"),
        (["sample", "output=x.ecsv", "n=0"], "n must be at least 1"),
        (["sample", "output=x.ecsv", "seed=abc"], "seed must be a whole number"),
        (["sample", "output=x.ecsv", "seed=1.5"], "seed must be a whole number"),
        (["sample", "output=x.ecsv", "seed=0"], "seed of its own for 0"),
        (["draw", "output=x.png", "seed=0"], "seed of its own for 0"),
        (["draw", "output=x.png", "n=2.5"], "n must be a whole number"),
        (["draw", "output=x.png", "magnitude=abc"], "magnitude must be a number"),
        (["draw", "output=x.png", "extrapolate=maybe"], "extrapolate must be true or false"),
        (["draw", __file__, "output=x.png"], "give a FITS"),
        (["draw", "/nothere.fits", "output=x.png"], "no file '/nothere.fits'"),
        (["draw", "output=x.jpg"], "must end in"),
        (["draw", "output=x.fits", "renderer=abacus"], "renderer is unknown"),
        (["draw", "a.ecsv", "n=3", "output=x.png"], "not both"),
        (["info", "nothere"], "nothere"),
        (["ingest"], "Give one configuration"),
        (["ingest", "/nothere.yaml"], "nothere.yaml"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, message, capsys):
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.startswith("galsim-vae ")
    with pytest.raises(Exception, match=message):
        cli.main([*arguments, "-v", "3"])


def test_sample_and_draw(tmp_path, monkeypatch, capsys):
    stub = stub_generator.StubGenerator()
    monkeypatch.setattr(galsim_vae.generator, "GalaxyGenerator", lambda weights: stub)
    table = tmp_path / "conditions.ecsv"
    conditions = QTable({"id": [4, 5], "magnitude": [22.0, 23.0], "half_light_radius": [0.3, 0.3],
                         "g1": [0.1, 0.0], "g2": [0.0, 0.1], "redshift": [0.5, 0.6]})  # fmt: skip
    monkeypatch.setattr(stub, "sample_conditions", lambda n, rng: conditions[:n], raising=False)
    assert cli.main(["sample", f"output={table}", "n=2"]) == 0
    assert QTable.read(table)["id"].tolist() == [4, 5]
    assert cli.main(["sample", f"output={table}", "n=2"]) == 1
    assert "overwrite=true" in capsys.readouterr().err
    images = tmp_path / "galaxies.fits"
    assert cli.main(["draw", str(table), f"output={images}", "seed=3"]) == 0
    with fits.open(images) as hdus:
        assert hdus["F814W"].data.shape[0] == 2 and hdus["F814W"].header["PIXSCALE"] == 0.06
        assert np.isfinite(hdus["F814W"].data).all() and len(hdus["CATALOG"].data) == 2
    batch = tmp_path / "batch.fits"
    assert cli.main(["draw", str(table), f"output={batch}", "seed=3", "renderer=batch"]) == 0
    with fits.open(images) as hdus, fits.open(batch) as others:
        for hdu, other in zip(hdus[1:-1], others[1:-1], strict=True):
            assert not np.array_equal(other.data, hdu.data)
            # What GalSim leaves out by default; the noise is the same.
            np.testing.assert_allclose(other.data, hdu.data, rtol=0, atol=5e-4 * hdu.data.max())
    sheet = tmp_path / "galaxies.png"
    assert cli.main(["draw", str(table), "-v", "0", f"output={sheet}", "magnitude=2.3e1"]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_draw_beyond_the_trained_range_as_its_error_advises(tmp_path, capsys):
    command = ["draw", f"output={tmp_path / 'faint.png'}", "n=1", "magnitude=28"]
    assert cli.main(command) == 1
    assert "extrapolate=True" in capsys.readouterr().err
    with pytest.warns(galsim.GalSimWarning, match="outside the trained range"):
        assert cli.main([*command, "extrapolate=true"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli.main([*command, "extrapolate=true", "overwrite=true", "-v", "0"]) == 0


def test_ingest_and_info(tmp_path, capsys):
    path = made_survey.stamps(tmp_path, n=3)
    spec = {"type": "stamps", "file_name": str(path), "psf": made_survey.PSF_CONFIGS["F160W"]}
    config = made_survey.config(tmp_path, tmp_path / "real.h5", near=spec)
    assert cli.main(["ingest", str(config), "inputs.near.structure_only=true", "-v", "0"]) == 0
    assert "3 galaxies" in capsys.readouterr().out
    assert len(dataset.read(tmp_path / "real.h5")) == 3
    assert (tmp_path / "real_report" / "index.html").exists()
    assert cli.main(["info", str(tmp_path / "real.h5")]) == 0
    assert "near: 3 of 3 (3 in 1 bands)" in capsys.readouterr().out
    assert cli.main(["info", "candels"]) == 0
    assert "sha256" in capsys.readouterr().out
    assert cli.main(["info"]) == 0
    assert "candels" in capsys.readouterr().out
