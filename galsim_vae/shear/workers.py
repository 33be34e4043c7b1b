"""Where chunks are done: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from galsim.errors import GalSimError
from numpy.typing import NDArray
from tqdm.auto import tqdm

from galsim_vae.devices import one_thread, process_pool
from galsim_vae.settings import how_to_install

from .bias import Sums, bias
from .chunk import run_chunk
from .config import CalibrationConfig
from .store import ChunkStore

__all__ = ["Forecast", "run_missing"]

logger = logging.getLogger(__name__)

#: A chunk whose worker was lost so often is the reason for it.
ATTEMPTS = 3
_Result = tuple[int, dict[str, NDArray], dict[str, float]]


def run_missing(
    config: CalibrationConfig, store: ChunkStore, workers: int = 1, scheduler: str | None = None,
    progress: bool = True,
) -> None:  # fmt: skip
    """Do and store the chunks that are not there.

    Parameters
    ----------
    config : CalibrationConfig
    store : ChunkStore
    workers : int
        Processes on this machine; with 1 everything is done in this one.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then do it.
    progress : bool
        Show a bar.

    Raises
    ------
    galsim.GalSimError
        A chunk was lost with its worker three times; a scheduler without dask.
    """
    missing = store.missing(config.nchunks)
    sha256 = config.weights_sha256
    if scheduler is not None:
        results = _on_dask(config, missing, sha256, scheduler)
    elif workers > 1:
        results = _in_processes(config, missing, sha256, workers)
    else:
        results = _here(config, missing, sha256)
    done = config.nchunks - len(missing)
    with tqdm(total=config.nchunks, initial=done, unit="chunk", disable=not progress) as bar:
        forecast = Forecast(config, done)
        for number, arrays, seconds in results:
            store.write(number, arrays, seconds)
            bar.set_postfix_str(forecast.add(arrays), refresh=False)
            bar.update()


def _here(config: CalibrationConfig, missing: list[int], sha256: str) -> Iterator[_Result]:
    with one_thread():
        for number in missing:
            yield number, *run_chunk(config, number, sha256)


def _in_processes(
    config: CalibrationConfig, missing: list[int], sha256: str, workers: int
) -> Iterator[_Result]:
    """One pool a process, so that one that is lost takes nothing but its own chunk with it."""
    todo: queue.SimpleQueue = queue.SimpleQueue()
    results: queue.SimpleQueue = queue.SimpleQueue()
    for number in missing:
        todo.put(number)
    stop = threading.Event()

    def work() -> None:
        try:
            _keep_working(config, sha256, todo, results, stop)
        except BaseException as error:  # It is raised again where the results are taken.
            results.put(error)

    threads = [threading.Thread(target=work) for _ in range(min(workers, len(missing)))]
    for thread in threads:
        thread.start()
    try:
        for _ in missing:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _keep_working(config, sha256: str, todo, results, stop: threading.Event) -> None:
    pool = process_pool(1)
    try:
        while not stop.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    done = pool.submit(run_chunk, config, number, sha256).result()
                    results.put((number, *done))
                    break
                except BrokenProcessPool as error:
                    pool.shutdown(wait=False)
                    if attempt == ATTEMPTS or stop.is_set():
                        raise _lost(number) from error
                    logger.warning("a worker died: chunk %d is done again", number)
                    pool = process_pool(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _lost(number: int) -> GalSimError:
    return GalSimError(
        f"Chunk {number} was lost with its worker {ATTEMPTS} times: was there enough memory? Make "
        "chunk smaller, or take fewer workers. What is done is kept: the same command goes on"
    )


def _on_dask(
    config: CalibrationConfig, missing: list[int], sha256: str, scheduler: str
) -> Iterator[_Result]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ModuleNotFoundError as error:
        raise GalSimError(f"A scheduler needs dask: {how_to_install('distributed')}") from error
    with Client(scheduler) as client:
        numbers: dict[Any, int] = {
            client.submit(run_chunk, config, number, sha256, pure=False): number
            for number in missing
        }
        for future in as_completed(list(numbers)):
            number = numbers.pop(future)
            try:
                yield number, *future.result()
            except KilledWorker as error:
                raise _lost(number) from error
            future.release()


class Forecast:
    """The error of m so far, of the first population and estimator, and the time to the target.

    Parameters
    ----------
    config : CalibrationConfig
    done : int
        Number of chunks that were there before.
    """

    def __init__(self, config: CalibrationConfig, done: int):
        self._config, self._before, self._start = config, done, time.monotonic()
        self._key = f"{config.populations[0]}/{config.estimators[0]}"
        self._component = int(np.argmax(np.abs(config.shear)))
        self._sums: list[Sums] = []

    def add(self, arrays: dict[str, NDArray]) -> str:
        """Return what is known after one more chunk, "" for nothing.

        Parameters
        ----------
        arrays : dict of str to array
            As `galsim_vae.shear.chunk.run_chunk` gives them.
        """
        ok = arrays[f"{self._key}/ok"]
        e, r = (arrays[f"{self._key}/{name}"][ok] for name in "er")
        if ok.any():
            self._sums.append(Sums.of(e, r, groups=10))
        if not self._sums:
            return ""
        joined = Sums(*(np.concatenate(part) for part in zip(*self._sums, strict=True)))
        error = bias(joined, self._config.shear).m_err[self._component]
        if not np.isfinite(error) or error == 0:
            return ""
        done = len(self._sums)
        target = self._config.target_error
        needed = done * (error / target) ** 2
        total = error * np.sqrt(done / (done + self._before))
        left = max(needed - done - self._before, 0) * (time.monotonic() - self._start) / done
        return f"error of m {total:.1e}, {target:.0e} in {left / 60:.0f} min"
