"""The command, and the chunks on disk."""

import importlib

import numpy as np
import pytest
from astropy.table import Table
from places import ROOT
from shear_setup import config

from galsim_vae import cli, shear
from galsim_vae.cli.main import module_of
from galsim_vae.shear import calibration
from galsim_vae.shear.chunk import run_chunk
from galsim_vae.shear.store import ChunkStore
from galsim_vae.shear.workers import run_missing


def test_the_command_writes_table_and_figures_and_goes_on(stub, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("galsim_vae.shear.workers.run_chunk", lambda c, k, sha: run_chunk(c, k))
    path = tmp_path / "run.yaml"
    path.write_text(
        f"output: {tmp_path / 'out'}\ngalaxies: 6\nchunk: 2\nstamp_size: 32\nbins: 2\n"
        "max_magnitude: 24\nestimators: anacal\n"
    )
    assert cli.main(["calibrate", str(path), "seed=3"]) == 0
    printed = capsys.readouterr().out
    assert "vae - sersic" in printed and "nan" not in printed
    assert printed.count("not sheared") == 3
    for name in ("calibration.ecsv", "throughput.ecsv", "m.png", "c.png"):
        assert f"wrote {tmp_path / 'out' / name}" in printed
    assert "nan" not in (tmp_path / "out" / "calibration.ecsv").read_text()
    table = Table.read(tmp_path / "out" / "calibration.ecsv")
    unsheared = table["component"] == 2
    assert table["m"].mask[unsheared].all() and not table["m"].mask[~unsheared].any()
    assert table["mean"].mask[table["property"] == "all"].all()
    assert table.meta["config"]["seed"] == 3 and len(table.meta["weights_sha256"]) == 64
    assert {"galsim_vae", "GalSim", "anacal", "torch"} < set(table.meta["versions"])
    for name in ("m.png", "c.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    steps = Table.read(tmp_path / "out" / "throughput.ecsv")["step"].tolist()
    assert {"conditions", "decode", "draw", "measure anacal"} < set(steps)
    # Again: nothing is done again but what is not there, and the table is the same.
    before = (tmp_path / "out" / "calibration.ecsv").read_bytes()
    chunks = sorted((tmp_path / "out").glob("chunks-*/*.h5"))
    assert len(chunks) == 3
    chunks[1].write_bytes(b"half a file")
    times = [chunk.stat().st_mtime_ns for chunk in chunks]
    assert cli.main(["calibrate", str(path), "-v", "0", "seed=3"]) == 0
    assert [c.stat().st_mtime_ns == t for c, t in zip(chunks, times, strict=True)] == [
        True, False, True
    ]  # fmt: skip
    assert (tmp_path / "out" / "calibration.ecsv").read_bytes() == before


def test_an_interrupted_run_keeps_its_chunks(stub, tmp_path, monkeypatch):
    made = config(galaxies=3, chunk=1, output=str(tmp_path), stamp_size=32, estimators="regauss",
                  twins=False)  # fmt: skip
    store = ChunkStore(made.output, made.fingerprint())

    def stopped(config, number, sha):
        if number == 1:
            raise KeyboardInterrupt
        return run_chunk(config, number)

    monkeypatch.setattr("galsim_vae.shear.workers.run_chunk", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_missing(made, store, progress=False)
    assert store.missing(3) == [1, 2]
    other = ChunkStore(made.output, "another")
    assert other.missing(3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give one configuration"),
        (["{config}", "estimators=[lensfit]"], "Unknown estimator"),
        (["{config}", "weights=nothere"], "nothere"),
        (["{config}", "workers=0"], "workers must be at least 1"),
        (["{config}", "workers=two"], "workers must be a whole number"),
        (["{text}"], "must be a table"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, message, tmp_path, capsys):
    files = {"config": tmp_path / "a.yaml", "text": tmp_path / "b.yaml"}
    files["config"].write_text(f"output: {tmp_path}\ngalaxies: 2\n")
    files["text"].write_text("nothing")
    arguments = [argument.format(**files) for argument in arguments]
    assert cli.main(["calibrate", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_run_without_shear_of_one_galaxy_has_neither_m_nor_errors(stub, tmp_path):
    made = config(galaxies=1, output=str(tmp_path), estimators="regauss", shear=[0, 0], bins=1,
                  max_magnitude=22.0, twins=False)  # fmt: skip
    arrays, seconds = run_chunk(made, 0)
    ChunkStore(made.output, made.fingerprint()).write(0, arrays, seconds)
    table = shear.calibrate(made, progress=False)
    assert table["m"].mask.all() and table["c_err"].mask.all() and np.isfinite(table["c"]).all()
    assert "nan" not in "".join(calibration.summary(table))
    names = [path.name for path in calibration.written_files(table, tmp_path)]
    assert names == ["calibration.ecsv", "throughput.ecsv", "c.png"]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == set(names)


def test_the_scheduler_is_an_option(monkeypatch, tmp_path):
    asked, empty = [], Table(names=("property", "m"), dtype=(str, float))
    module = module_of("calibrate")
    monkeypatch.setattr(module, "calibrate", lambda *args: asked.append(args) or empty)
    (tmp_path / "a.yaml").write_text("output: x\ngalaxies: 2\n")
    for given in (["--scheduler", "tcp://a:1"], ["scheduler=tcp://a:1"]):
        cli.main(["calibrate", str(tmp_path / "a.yaml"), *given])
    assert [call[2] for call in asked] == ["tcp://a:1"] * 2


def test_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    demo = importlib.import_module("demo_shear")
    monkeypatch.setattr(demo, "NOBJECTS", 4)
    monkeypatch.setattr(demo, "SHOWN", 2)
    demo.main()
    assert (tmp_path / demo.OUTPUT).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "examples" / "output" / "demo_shear" / "calibration.ecsv").exists()
