"""Discrete Langevin dynamics as it is usually written in PyTorch: one chain, automatic gradients.

    θ ← θ − η∇𝓛(θ) + √(2ηT) ξ,      𝓛 = ½ Σ (y − f)² + (T/2) Σ λ w²

The network has all N_0 inputs. Two ways to have the prior: in the loss, or as a decay of the
weights by the factor 1 − ηTλ. On a CPU two ways to use the cores: all for one chain, or one chain
for each core, in threads.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from experiments import num_cores
from experiments.benchmark.measuring import PRECISIONS, seconds_of

STEP_SIZE = 1e-4


class Network(torch.nn.Module):
    """A network of one hidden layer of erf units in NTK scaling."""

    def __init__(self, in_size: int, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.randn(width, in_size))
        self.readout = torch.nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.erf(x @ self.first.T / math.sqrt(self.first.shape[1]))
        return hidden @ self.readout / math.sqrt(len(self.readout))


def steps(
    network: Network, x: torch.Tensor, y: torch.Tensor, temperature: float, decay: bool, count: int
) -> None:
    weights = (network.first, network.readout)
    noise_scale = math.sqrt(2 * STEP_SIZE * temperature)
    for _ in range(count):
        loss = 0.5 * ((y - network(x)) ** 2).sum()
        if not decay:
            for w, precision in zip(weights, PRECISIONS, strict=True):
                loss = loss + 0.5 * temperature * precision * (w**2).sum()
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for w, precision in zip(weights, PRECISIONS, strict=True):
                if decay:
                    w.mul_(1 - STEP_SIZE * temperature * precision)
                w.add_(w.grad, alpha=-STEP_SIZE)
                w.add_(torch.randn_like(w), alpha=noise_scale)


def ways(
    x: np.ndarray, y: np.ndarray, width: int, temperature: float, seconds: float
) -> dict[str, Callable[[], float]]:
    """A measurement for each way of writing the loop: about `seconds` long, per chain and step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # as JAX's default: on GPUs TensorFloat-32
    inputs = torch.tensor(x, dtype=torch.float32, device=device)
    targets = torch.tensor(y, dtype=torch.float32, device=device)

    def chain(decay: bool) -> Callable[[int], None]:
        network = Network(x.shape[1], width).to(device)

        def run(count: int) -> None:
            steps(network, inputs, targets, temperature, decay, count)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    measurements = {}
    for prior, decay in (("prior in the loss", False), ("prior as weight decay", True)):
        one_chain = chain(decay)
        measurements[f"{prior}, one chain on {'the GPU' if device == 'cuda' else 'all cores'}"] = (
            _paced(one_chain, 1, seconds)
        )
        if device == "cpu" and num_cores() > 1:
            measurements[f"{prior}, a chain on each core"] = _paced(
                _side_by_side([chain(decay) for _ in range(num_cores())]), num_cores(), seconds
            )
    return measurements


def _side_by_side(chains: list[Callable[[int], None]]) -> Callable[[int], None]:
    def one_core(run: Callable[[int], None], count: int) -> None:
        torch.set_num_threads(1)  # of this thread
        run(count)

    def run(count: int) -> None:
        with ThreadPoolExecutor(len(chains)) as pool:
            for future in [pool.submit(one_core, chain, count) for chain in chains]:
                future.result()

    return run


def _paced(run: Callable[[int], None], num_chains: int, seconds: float) -> Callable[[], float]:
    run(2)
    count = max(1, int(seconds / (seconds_of(lambda: run(4)) / 4)))
    return lambda: seconds_of(lambda: run(count)) / (count * num_chains)
