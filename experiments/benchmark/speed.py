"""Speed of steps against PyTorch and matrix products; compilation; Cholesky factors.

A step of `langevin` needs two products of (P, r) with (r, N_1) sizes for each chain, forward and
backward: 4·P·r·N_1 operations, r the rank of the training inputs. The fraction of the machine's
rate counts nothing else.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

import langevin_nn as lnn
from experiments.benchmark.measuring import (
    Size,
    Stopwatch,
    chain_sharding,
    drive,
    name_of,
    on_gpu,
    posterior_of,
    seconds_of,
    spread,
)

PAPER_STEPS = 5_000_000
"""The number of steps of the authors' own code for each point."""


def steps_per_second(size: Size, thinning: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Part a for one size: `langevin` in the driver, and its rivals between its chunks."""
    posterior = posterior_of(size)
    rank = posterior.x_train.shape[1]
    operations = 4 * size.num_train * rank * size.width
    rivals = pytorch_ways(size, seconds)
    products = {
        "jax": jax_products(size, rank, seconds),
        "numpy": numpy_products(size, rank, seconds),
    }
    times: dict[str, list[float]] = {name: [] for name in (*products, *rivals)}

    def meanwhile() -> None:
        for name, action in (products | rivals).items():
            times[name].append(action())

    stopwatch = Stopwatch(repeats, meanwhile)
    drive(
        posterior, lnn.Langevin(), stopwatch, num_chains=size.num_chains, num_warmup=1,
        num_samples=1000, thinning=thinning,
    )  # fmt: skip
    paces = stopwatch.paces
    ours = [pace / size.num_chains for pace in paces]
    best = min(rivals, key=lambda name: statistics.median(times[name]), default=None)
    rates = [operations / second for second in ours]
    return {
        "size": asdict(size),
        "in_size": posterior.in_size,
        "rank": rank,
        "thinning": thinning,
        "matmul_precision": jax.config.jax_default_matmul_precision or "JAX's default",
        "langevin_seconds": spread(ours),
        "langevin_rate": spread(rates),
        "product_rates": {
            library: spread(operations / duration for duration in times[library])
            for library in products
        },
        "fraction": statistics.median(times["jax"]) / statistics.median(ours),
        "pytorch_seconds": {name: spread(times[name]) for name in rivals},
        "pytorch_best": best,
        "ratio": None if best is None else statistics.median(times[best]) / statistics.median(ours),
        "paper_minutes": PAPER_STEPS * statistics.median(paces) / 60,
    }


def pytorch_ways(size: Size, seconds: float) -> dict[str, Callable[[], float]]:
    """The measurements of `torch_loop`, none where PyTorch is not installed."""
    if find_spec("torch") is None:
        return {}
    from experiments.benchmark import torch_loop

    data = lnn.load_dataset(
        size.source, num_train=size.num_train, num_test=1, in_size=size.in_size,
        colour=size.source == "cifar10", key=jax.random.key(0),
    )  # fmt: skip
    return torch_loop.ways(data.x_train, data.y_train, size.width, size.temperature, seconds)


def jax_products(size: Size, rank: int, seconds: float) -> Callable[[], float]:
    """A measurement of JAX's matrix products: seconds per chain and pair of products.

    It iterates W ← (W Xᵀ) X for all chains, jitted, on the devices that the chains run on. X (P, r)
    has orthonormal columns, so that W does not grow.
    """
    x = jnp.asarray(_orthonormal(size.num_train, rank))
    shape = (size.num_chains, size.width, rank)
    w = jax.device_put(jax.random.normal(jax.random.key(2), shape), chain_sharding(size.num_chains))

    @jax.jit
    def pairs(w: jax.Array, x: jax.Array, count: int) -> jax.Array:
        def pair(_: int, w: jax.Array) -> jax.Array:
            return jnp.einsum("cpn,pr->cnr", jnp.einsum("cnr,pr->cpn", w, x), x)

        return jax.lax.fori_loop(0, count, pair, w)

    def run(count: int) -> None:
        jax.block_until_ready(pairs(w, x, count))

    return _per_chain(run, size.num_chains, seconds)


def numpy_products(size: Size, rank: int, seconds: float) -> Callable[[], float]:
    """A measurement of the products by NumPy's BLAS with all its threads, chain after chain."""
    x = _orthonormal(size.num_train, rank)
    w = np.random.default_rng(0).standard_normal((size.width, rank), np.float32)

    def run(count: int) -> None:
        for _ in range(count):
            (w @ x.T) @ x

    return _per_chain(run, 1, seconds)


def _orthonormal(rows: int, columns: int) -> np.ndarray:
    normal = np.random.default_rng(0).standard_normal((rows, columns))
    return np.linalg.qr(normal)[0].astype(np.float32)


def _per_chain(run: Callable[[int], None], num_chains: int, seconds: float) -> Callable[[], float]:
    run(1)
    count = max(1, int(seconds / (seconds_of(lambda: run(2)) / 2)))
    return lambda: seconds_of(lambda: run(count)) / (count * num_chains)


def compilation(size: Size, cases: tuple[tuple[Any, str], ...]) -> list[dict[str, Any]]:
    """Part e: the times of a run of five steps, for the first time and again.

    They are the seconds to its first report and in all, and by JAX's own account the number of
    programs that were compiled, and the seconds of that.
    """
    rows = []
    jax.clear_caches()
    for dynamics, readout in cases:
        posterior = posterior_of(size, readout)
        row = {"sampler": f"{name_of(dynamics)}, {readout}", "size": asdict(size)}
        for call in ("first", "again"):
            stopwatch = Stopwatch()
            with compiling() as account:
                drive(
                    posterior, dynamics, stopwatch, num_chains=size.num_chains, num_warmup=1,
                    num_samples=4, thinning=1,
                )  # fmt: skip
            _, first_report = stopwatch.reports[0]
            total_seconds = time.perf_counter() - stopwatch.began
            row[call] = {"first_report": first_report, "in_all": total_seconds} | account
        rows.append(row)
    return rows


@contextlib.contextmanager
def compiling() -> Iterator[dict[str, float]]:
    """A count, within the block, of the programs that XLA compiles and of its seconds."""
    account = {"programs": 0, "compile_seconds": 0.0}

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event.endswith("/backend_compile_duration"):
            account["programs"] += 1
            account["compile_seconds"] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield account
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def factorisations(
    num_matrices: int, sizes: tuple[int, ...], repeats: int, count: int
) -> list[dict[str, Any]]:
    """Part f: the factorisations of a marginalised read-out, as a batch and one by one.

    On a CPU the batch is left out: there XLA may wait for its own threads for ever.
    """
    rows = []
    for size in sizes:
        root = jax.random.normal(jax.random.key(0), (num_matrices, size, 2 * size))
        gram = root @ jnp.swapaxes(root, 1, 2) / (2 * size) + 0.01 * jnp.eye(size)
        for name, function in (("cholesky", jnp.linalg.cholesky), ("triangular solve", _solve)):
            programs = {"one_by_one": _repeated(partial(jax.lax.map, function), gram, count)}
            if on_gpu():
                programs["batched"] = _repeated(function, gram, count)
            times: dict[str, list[float]] = {way: [] for way in programs}
            for _ in range(repeats):
                for way, program in programs.items():
                    times[way].append(seconds_of(program) / count)
            row = {"operation": name, "matrices": num_matrices, "size": size}
            rows.append(row | {way: spread(measured) for way, measured in times.items()})
    return rows


def _solve(factor: jax.Array) -> jax.Array:
    return solve_triangular(factor, factor, lower=True)


def _repeated(
    function: Callable[[jax.Array], jax.Array], gram: jax.Array, count: int
) -> Callable[[], object]:
    """A program that applies the function `count` times, each time to an input that depends on the
    last result."""

    @jax.jit
    def program(gram: jax.Array) -> jax.Array:
        def once(_: int, last: jax.Array) -> jax.Array:
            return function(gram + 1e-12 * last)

        return jax.lax.fori_loop(0, count, once, jnp.zeros_like(gram))

    jax.block_until_ready(program(gram))
    return lambda: jax.block_until_ready(program(gram))
