"""Processes of a pool have one thread, and end with the process that began them."""

import os
import subprocess
import sys
import time

import pytest
import torch

from galsim_vae.devices import process_pool

SCRIPT = """
import os, time
from galsim_vae.devices import process_pool
if __name__ == "__main__":
    pool = process_pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_process_is_initialised_and_has_one_thread():
    with process_pool(1, torch.set_default_dtype, (torch.float64,)) as pool:
        assert pool.submit(torch.get_default_dtype).result() == torch.float64
        assert pool.submit(torch.get_num_threads).result() == 1


def test_processes_end_with_one_that_is_killed(tmp_path):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        worker = int(script.stdout.readline())
        os.kill(worker, 0)  # It is there.
        script.kill()
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.kill(worker, 0)
            time.sleep(0.1)
