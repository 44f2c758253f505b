"""The same work on many processes or machines, by Dask (https://distributed.dask.org). The only file that names it."""
from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import advice
from ..errors import UsageError
from .records import Record
from .work import Job, Unreadable, annotate

PART = 32  # photos in one task: at most so many a worker are lost with a kill, and they make up for loading the bundle
CONNECT_SECONDS = 10
START_WORKER = "`PYTHONPATH=. dask worker ADDRESS`"


def annotate_in_parts(job: Job, names: Sequence[str], workers: int, scheduler: str | None) -> Iterator[Record | Unreadable]:
    """What `annotate` yields, in the order in which parts of the names are done.

    Args:
        workers: processes on this machine; not looked at when there is a scheduler.
        scheduler: address of a running one, whose workers see the photos under the same path and can import `runtime`.

    Raises:
        UsageError: Dask is not installed, or there is no scheduler.
        SourceError, InterpreterError: as `annotate`, from a worker.
    """
    parts = [names[first : first + PART] for first in range(0, len(names), PART)]
    with _client(workers, scheduler) as (client, as_completed):
        sent = client.scatter(job, broadcast=True)
        futures = client.map(_annotate_part, [sent] * len(parts), parts, pure=False)
        for future in as_completed(futures):
            try:
                done = future.result()
            except ModuleNotFoundError as error:
                raise UsageError("a worker lacks something", given=error, expected="what this machine has",
                                 remedy=f"Start each worker with {START_WORKER}, in a folder that holds runtime/.") from error
            yield from done
            future.release()


def _annotate_part(job: Job, names: Sequence[str]) -> list[Record | Unreadable]:
    return list(annotate(job, names))


@contextmanager
def _client(workers: int, scheduler: str | None):
    """Dask's client and its as_completed."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise UsageError("--workers and --dask need Dask", given=error, remedy=advice.install_line("distributed")) from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, asyncio.TimeoutError) as error:  # the last is no OSError before Python 3.11
            raise UsageError("--dask", given=f"{scheduler} ({error})", expected="a running scheduler with workers",
                             remedy=f"Start it with `dask scheduler`, and on each machine {START_WORKER}.") from error
        with client:
            yield client, as_completed
        return
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client, as_completed
