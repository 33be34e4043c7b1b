"""A shear calibration is the same on any number of workers, on a cluster, and after losses."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from galsim_vae import shear
from galsim_vae.shear.store import ChunkStore
from galsim_vae.shear.workers import run_missing

CHUNKS = 6


def config(folder):
    return shear.CalibrationConfig.from_dict(
        {"output": str(folder), "galaxies": CHUNKS, "chunk": 1, "max_magnitude": 25.0,
         "stamp_size": 32, "estimators": ["anacal"], "bins": 2}
    )  # fmt: skip


def contents(folder):
    return (Path(folder) / "calibration.ecsv").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The table of one worker."""
    folder = tmp_path_factory.mktemp("alone")
    shear.calibrate(config(folder), progress=False)
    return contents(folder)


def kill_one_worker(store, killed):
    """Kill a worker when the first chunk is there, and others are in work."""
    while not list(store.folder.glob("*.h5")):
        time.sleep(0.05)
    victim = multiprocessing.active_children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    killed.append(victim.pid)


def test_four_workers_one_of_which_is_killed(alone, tmp_path):
    made = config(tmp_path)
    store, killed = ChunkStore(made.output, made.fingerprint()), []
    killer = threading.Thread(target=kill_one_worker, args=(store, killed))
    killer.start()
    shear.calibrate(made, workers=4, progress=False)
    killer.join()
    assert killed
    assert contents(tmp_path) == alone
    assert len(list(store.folder.iterdir())) == CHUNKS  # Neither more nor half ones.


def test_a_dask_cluster_and_a_run_that_was_cut_off(alone, tmp_path):
    """One worker of two is killed, and half the chunks were done before by another run."""
    distributed = pytest.importorskip("distributed")
    made = config(tmp_path)
    store = ChunkStore(made.output, made.fingerprint())

    def cut_off():
        """Do the first chunks, as a run that ended early."""
        written = []
        write = store.write

        def stop_after_three(*arguments):
            write(*arguments)
            written.append(arguments[0])
            if len(written) == 3:
                raise KeyboardInterrupt

        store.write = stop_after_three
        with pytest.raises(KeyboardInterrupt):
            run_missing(made, store, progress=False)
        store.write = write

    cut_off()
    assert store.missing(CHUNKS) == [3, 4, 5]
    times = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        address = cluster.scheduler_address

        def kill():
            while len(list(store.folder.glob("*.h5"))) == 3:
                time.sleep(0.05)
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        shear.calibrate(made, scheduler=address, progress=False)
        killer.join()
    assert contents(tmp_path) == alone
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert len(list(store.folder.iterdir())) == CHUNKS
