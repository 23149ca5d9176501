"""What does a network learn of a linear teacher as its width grows, and does theory say so?

python tests/extensions/experiment_width.py [--smoke | --draw] FOLDER
"""

import xarray as xr
from matplotlib.figure import Figure

import langevin_nn as lnn
from experiments.common import Call, Results, experiment, shrunk, table

WIDTHS, THEORIES = "network.hidden_widths[0]", ["infinite_width", "one_layer"]
VALUES = {
    "theory": THEORIES,
    "data": {"source": "teacher_linear", "in_size": 20, "num_train": 40, "num_test": 100},
    "posterior": {"temperature": 0.05, "readout": "marginalised"},
    "sampler": {"dynamics": "split"},
    "sweep": {"over": {WIDTHS: [10, 100]}},
}


def measure(call: Call) -> dict[str, xr.Dataset]:
    return {"widths": call.swept(shrunk(VALUES) if call.size == "smoke" else VALUES)}


def draw(results: Results) -> dict[str, Figure]:
    figure = Figure(figsize=(5, 4), layout="constrained")
    lnn.plotting.plot_along(figure.subplots(), results["widths"], "bias2", WIDTHS)
    return {"widths": figure}


def report(results: Results) -> str:
    return table(results["widths"], THEORIES)


if __name__ == "__main__":
    experiment(__file__, __doc__, measure, draw, report)
