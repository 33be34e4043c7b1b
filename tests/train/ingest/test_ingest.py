"""The pipeline: one file from all readers, restarts, the report, and real data."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import galsim
import made_survey
import numpy as np
import pytest
from astropy.table import Table
from made_reader import Made
from places import ROOT, SHARED

from galsim_vae.bands import CANDELS_NOISE
from galsim_vae.settings import load
from galsim_vae.train import training_file as dataset
from galsim_vae.train.ingest import config as inputs
from galsim_vae.train.ingest import report
from galsim_vae.train.ingest import run as ingest
from galsim_vae.train.ingest.reject import has_two_nuclei
from galsim_vae.train.readers.source import Source

CONFIG, MORE = (ROOT / "weights" / name for name in ("real.yaml", "real-more.yaml"))


def contents(path):
    """Everything in a training file."""
    galaxies, rejected = dataset.read(path), dataset.read_rejected(path)
    columns = {**vars(galaxies), **galaxies.catalogue, "header": dataset.read_header(path)}
    columns.pop("catalogue")
    return columns | {f"rejected_{k}": v for k, v in vars(rejected).items()}


def assert_same(path, other):
    a, b = contents(path), contents(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_file_holds_galaxies_reasons_filters_catalogue_and_provenance(tmp_path):
    path = tmp_path / "real.h5"
    counts = ingest.ingest([Made(), Made("other", 1)], path)
    assert counts == {("made", ""): 8, ("made", "every third"): 4,
                      ("other", ""): 2, ("other", "every third"): 1}  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["real.h5"]
    galaxies, rejected = dataset.read(path), dataset.read_rejected(path)
    assert galaxies.source.tolist() == ["made"] * 8 + ["other"] * 2
    assert galaxies.source_index[:5].tolist() == [0, 1, 3, 4, 6]
    assert galaxies.valid[:5].tolist() == [False, False, False, True, False]
    assert galaxies.filters[0].tolist() == ["", "", "F814W", "", ""]
    assert galaxies.identifier[1] == "g1"
    np.testing.assert_array_equal(galaxies.catalogue["ra"][:3], [np.nan, 11.0, 13.0])
    assert galaxies.magnitude == pytest.approx(25 - 2.5 * np.log10(50), abs=0.05)
    assert rejected.reason.tolist() == ["every third"] * 5
    assert rejected.picture[0].max() > 100
    assert dataset.read_header(path)["band_map_made"] == "F814W>F814W"
    some = galaxies[galaxies.valid]
    assert some.identifier.tolist() == ["g4", "g9"] and some.catalogue["ra"].shape == (2,)


@pytest.mark.parametrize("stop_at", [0, 4, 11])
def test_interrupted_and_restarted_equals_uninterrupted(tmp_path, stop_at):
    whole, part = tmp_path / "whole.h5", tmp_path / "part.h5"
    ingest.ingest([Made()], whole)
    with pytest.raises(KeyboardInterrupt):
        ingest.ingest([Made(stop_at=stop_at)], part)
    assert not part.exists() and ingest.parts_folder(part).exists()
    with pytest.raises(galsim.GalSimConfigError, match="another configuration"):
        ingest.ingest([Made()], part, recipe="other")
    ingest.ingest([Made()], part)
    assert_same(whole, part)
    assert not ingest.parts_folder(part).exists()


def test_killed_process_restarts_without_loss(tmp_path):
    """SIGKILL in the middle, and again in the middle of what is left."""
    folder = str(made_survey.stamps(tmp_path, n=33))
    spec = {"type": "stamps", "file_name": folder, "psf": made_survey.PSF_CONFIGS["F160W"],
            "structure_only": True}  # fmt: skip
    output, whole = tmp_path / "killed.h5", tmp_path / "whole.h5"
    config = made_survey.config(tmp_path, output, stamps=spec)
    command = [sys.executable, "-m", "galsim_vae.cli", "ingest", str(config), "-v", "0"]
    parts = ingest.parts_folder(output)
    for wanted in (1, 2):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(parts.glob("stamps.*.h5"))) < wanted:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
    assert not output.exists() and len(list(parts.glob("stamps.*.h5"))) == 2
    subprocess.run(command, check=True, capture_output=True)
    ingest.ingest(inputs.build_readers({"stamps": spec}), whole)
    assert_same(whole, output)
    assert contents(output)["identifier"].tolist() == [f"qso{k}" for k in range(3)] + [
        f"other{k}" for k in range(3, 33)
    ]


def test_what_cannot_start_does_not(tmp_path):
    with pytest.raises(galsim.GalSimConfigError, match="own name"):
        ingest.ingest([Made(), Made()], tmp_path / "x.h5")
    nothing = Made(chunks=1)
    nothing.read = lambda chunk: iter([Source("made", 0, None, reason="star")])
    with pytest.raises(galsim.GalSimValueError, match="No galaxy was accepted"):
        ingest.ingest([nothing], tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"inputs": {}}, "no inputs"),
        ({"inputs": {"a": {"type": "mosiac"}}}, "inputs.a.type is unknown"),
        ({"inputs": {"a": {"type": "stamps"}}}, "inputs.a.file_name is missing"),
        (
            {"inputs": {"a": {"type": "stamps", "file_name": "x", "zp": 1}}},
            "Unknown key inputs.a.zp",
        ),
    ],
)
def test_bad_configurations_are_named(edit, message):
    with pytest.raises(galsim.GalSimError, match=message):
        inputs.build_readers(edit["inputs"])


def test_configuration_variables_and_words(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text('data: /here\ninputs: {a: {type: stamps, file_name: "{data}/x.npz"}}\n')
    changes = {"output": "x.h5", "data": "/there", "inputs.a.rows": "qso*"}
    config = inputs.IngestConfig.from_dict(load(path, changes))
    assert config.output == Path("x.h5") and config.report is None
    assert config.inputs["a"] == {"type": "stamps", "file_name": "/there/x.npz", "rows": "qso*"}


def test_a_key_of_the_top_level_has_a_use():
    values = {"output": "x.h5", "_psfs": [1], "data": "d", "inputs": {"a": "{data}"}}
    assert inputs.IngestConfig.from_dict(values).inputs == {"a": "d"}
    with pytest.raises(galsim.GalSimConfigError, match=r"Unknown key repport .*report"):
        inputs.IngestConfig.from_dict({**values, "repport": "d"})


def test_an_included_file_gives_what_the_file_does_not_say(tmp_path):
    base, path = tmp_path / "base.yaml", tmp_path / "c.yaml"
    base.write_text(
        'output: base.h5\ndata: /here\ninputs: {a: {file: "{data}/a", rows: "*"}, b: 1}'
    )
    path.write_text(f'include: {base}\noutput: c.h5\ninputs: {{c: "{{data}}/c"}}')
    changes = {"data": "/there", "inputs.b": None, "inputs.a.rows": "qso*"}
    config = inputs.IngestConfig.from_dict(load(path, changes))
    assert config.output == Path("c.h5")
    assert config.inputs == {
        "a": {"file": "/there/a", "rows": "qso*"}, "b": None, "c": "/there/c"}  # fmt: skip
    for include, error in ((str(path), "cannot include"), ([str(base)], "must be the path")):
        with pytest.raises(galsim.GalSimConfigError, match=error):
            inputs.IngestConfig.from_dict({"output": "x.h5", "include": include})
    with pytest.raises(OSError, match="nothere"):
        inputs.IngestConfig.from_dict({"output": "x.h5", "include": "/nothere.yaml"})


def test_report_shows_taken_and_rejected(tmp_path):
    path = tmp_path / "real.h5"
    ingest.ingest([Made()], path)
    page = report.write_report(path, tmp_path / "report").read_text()
    assert "4 rejected: every third" in page and "g2, g5, g8, g11" in page
    assert "8 galaxies taken" in page and "F814W&gt;F814W" in page
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "index.html", "made_taken.png", "made_every_third.png"}  # fmt: skip
    (line,) = report.summary(dataset.read(path), dataset.read_rejected(path))
    assert line == "made: 8 of 12 (8 in 1 bands); rejected: 4 every third"


def test_mergers_are_recognised_and_discs_are_not():
    for shifts, merger in ((((0, 0),), False), (((0.4, 0), (-0.4, 0.1)), True)):
        core = galsim.Gaussian(half_light_radius=0.2, flux=50.0 / len(shifts))
        item = galsim.Sum([core.shift(*s) for s in shifts])
        psf = made_survey.PSFS["F814W"]
        image = galsim.Convolve(item, psf).drawImage(nx=100, ny=100, scale=0.06, method="no_pixel")
        seen = ingest.frame.Observation(
            {"F814W": image.array}, {"F814W": 0.06}, {"F814W": psf}, {"F814W": 0.001}
        )
        assert has_two_nuclei(seen, ingest.frame.measure(seen)) is merger


# Real data


@pytest.fixture(scope="module")
def readers():
    if not SHARED.exists():
        pytest.skip("needs ../shared/data")
    config = inputs.IngestConfig.from_dict(load(CONFIG, {"data": str(SHARED)}))
    return {reader.name: reader for reader in config.readers()}


def test_configuration_of_the_shipped_weights_passes_its_checks(readers):
    for reader in readers.values():
        reader.check()
    published = CANDELS_NOISE["F125W"]
    assert readers["candels_goodss"].noise["F125W"] == pytest.approx(published, rel=1e-3)
    assert readers["xdf"].filters == {band: band for band in ingest.BANDS}
    assert readers["jwst_ceers"].filters == {"F150W": "F160W", "F115W": "F125W"}
    assert readers["cosmosweb_f444w"].filters == {"F444W": "F160W"}
    assert set(readers["kids_viking"].filters) == {"g", "r", "i", "J", "H"}


@pytest.fixture(scope="module")
def more_readers():
    if not SHARED.exists():
        pytest.skip("needs ../shared/data")
    values = load(MORE, {"data": str(SHARED), "include": str(CONFIG)})
    return {reader.name: reader for reader in inputs.IngestConfig.from_dict(values).readers()}


def test_configuration_with_all_sets_has_those_of_the_shipped_weights(more_readers, readers):
    for name in readers:
        assert vars(more_readers[name])["provenance"] == readers[name].provenance
    assert len(more_readers) == len(readers) + len(NEW)


#: Filters of the further sets, and the bands that they stand for.
NEW = {
    "euclid_q1": {"VIS": "F814W", "J": "F125W"},
    "hst_hudf": {band: band for band in ingest.BANDS},
    "hst_candels_morpheus": {"F606W": "F606W", "F850LP": "F814W", "F125W": "F125W",
                             "F160W": "F160W"},
    "hst_cl1216": {"F814W": "F814W"},
    "hst_jedisim": {"F606W": "F606W"},
    "hst_jedisim_candels": {"F606W": "F606W"},
    "hst_jwst_primer": {"F606W": "F606W", "F090W": "F814W", "F125W": "F125W", "F160W": "F160W"},
    "hst_a2744": {"F105W": "F125W"},
    "hst_nicmos": {"F160W": "F160W"},
    "jwst_cowls": {"F115W": "F125W", "F150W": "F160W"},
    "jwst_ceers_dja": {"F115W": "F125W", "F150W": "F160W"},
    "jwst_jof": {"F435W": "F435W", "F606W": "F606W", "F814W": "F814W", "F115W": "F125W",
                 "F150W": "F160W"},
    "hsc_cosmos": {"g": "F435W", "r": "F606W", "i": "F814W"},
    "nearby_2mass": {"J": "F125W", "H": "F160W"},
    "nearby_efigi": {"g": "F435W", "r": "F606W", "i": "F814W"},
    "nearby_sdss_barred": {"r": "F606W"},
    "nearby_sga": {"g": "F435W"},
}  # fmt: skip


def test_galaxies_to_leave_out_are_of_the_sets():
    table = Table.read(ROOT / "weights" / "real-more-leave-out.ecsv")
    assert set(table["source"]) <= set(NEW) and "source_index" in table.colnames


@pytest.mark.parametrize("name", NEW)
def test_further_sets_pass_their_checks(more_readers, name):
    more_readers[name].check()
    assert more_readers[name].filters == NEW[name]


@pytest.mark.parametrize(
    "name", ["candels_goodss", "jwst_ceers", "sdss_r", "cosmos", "kids_viking", "hst_acs"]
)
def test_real_galaxies_reach_the_canonical_frame(readers, name):
    source = next(s for s in readers[name].read(0) if not s.reason)
    row, reason = ingest.galaxy_row(source, 1)
    assert reason == ""
    seen = row["mask"].any((1, 2))
    assert (np.array(row["filters"]) != "").tolist() == seen.tolist()
    for psf in row["psf"][seen]:
        # Its core, since wings that the stamp cuts pull at the centroid of all.
        core = np.where(psf > 0.3 * psf.max(), psf, 0)
        y, x = np.indices(psf.shape)
        assert np.allclose([(core * x).sum(), (core * y).sum()] / core.sum(), 32, atol=0.25)
    assert (row["noise"][seen] > 0).all() and (row["noise_area"] >= 1).all()


def test_xdf_gives_60_galaxies_and_leaves_the_star(readers):
    taken, rejected = [], {}
    for source in readers["xdf"].read(0):
        row, reason = ingest.galaxy_row(source, 1)
        if row is None:
            rejected[source.index] = reason
        elif row["mask"].any((1, 2)).sum() >= 3:
            taken.append(source.index)
    assert len(taken) >= 60
    star = 379 * 500 + 117
    assert rejected[star] in ("unresolved", "saturated")
