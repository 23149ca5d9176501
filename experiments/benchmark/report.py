"""The benchmark's tables, made from results.json."""

from typing import Any

Results = dict[str, Any]
SYMBOLS = {"num_train": "P", "width": "N_1", "in_size": "N_0", "num_chains": "chains"}


def tables(results: Results) -> str:
    """The tables in Markdown, one for each part that was measured."""
    writers = {
        "a": _speed, "b": _efficiency, "c": _one_percent, "d": _growth, "e": _compilation,
        "f": _factorisations, "g": _sweep, "h": _sweep_to_one_percent,
        "i": _scale,
    }  # fmt: skip
    texts = []
    for name, write in writers.items():
        if name in results:
            head, rows = write(results[name]["found"])
            lines = [head, ["---"] * len(head), *rows]
            texts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n" + "\n\n".join(texts) + "\n"


def _speed(results: Any) -> tuple[list[str], list[list[str]]]:
    head = [
        "task", "P, N_0, r, N_1, chains", "`langevin`, ms per chain and step", "GFLOP/s",
        "products: JAX", "NumPy", "fraction", "PyTorch, ms", "ratio", "5·10⁶ steps",
    ]  # fmt: skip
    rows = []
    for row in results:
        size, torch = row["size"], row["pytorch_seconds"].get(row["pytorch_best"])
        shape = (size["num_train"], row["in_size"], row["rank"], size["width"], size["num_chains"])
        rows.append(
            [
                size["source"],
                ", ".join(map(str, shape)),
                _interval(row["langevin_seconds"], 1e3),
                _interval(row["langevin_rate"], 1e-9),
                _interval(row["product_rates"]["jax"], 1e-9),
                _interval(row["product_rates"]["numpy"], 1e-9),
                f"{row['fraction']:.2f}",
                "not installed" if torch is None
                else f"{_interval(torch, 1e3)} ({row['pytorch_best']})",
                "" if torch is None else f"{row['ratio']:.2f}",
                _duration(60 * row["paper_minutes"]),
            ]
        )  # fmt: skip
    return head, rows


def _efficiency(results: Any) -> tuple[list[str], list[list[str]]]:
    head = [
        "sampler", "s", "draws", "gradients a chain", "acceptance", "R̂ max", "ESS min, median",
        "ESS/s min, median", "Var f/MCSE² a second, min, median",
        "gradients to 1 %: bias², variance", "bias²", "variance",
    ]  # fmt: skip
    best = next(row for row in results if row["sampler"] == "split, marginalised")
    rows = []
    for row in results:
        seconds, acceptance = row["seconds"], row["acceptance"]
        rows.append(
            [
                row["sampler"],
                f"{seconds:.0f}",
                f"{row['chains']} × {row['draws']}",
                f"{row['gradients'] / row['chains']:.3g}",
                "" if acceptance is None else f"{acceptance:.2f}",
                f"{row['rhat']:.3f}",
                _pair(row["ess"], 1),
                _pair(row["ess"], seconds),
                _pair(row["worth"], seconds),
                ", ".join(
                    f"{needed:.1e} (×{needed / best['gradients_to_one_percent'][key]:.3g})"
                    for key, needed in row["gradients_to_one_percent"].items()
                ),
                *(_estimate(row["measured"][quantity]) for quantity in ("bias2", "variance")),
            ]
        )
    return head, rows


def runs_to_one_percent(results: Any) -> list[Any]:
    """The runs of part c of the marginalised split; one in earlier results, without a target."""
    return results["runs"] if "runs" in results else [results["split"]]


def _one_percent(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["sampler", "P, N_1, chains", "errors below 1 % after", "the run ends after",
            "first report", "draws: then, at the end", "gradients to 1 %", "R̂ max", "bias²",
            "variance"]  # fmt: skip
    runs = runs_to_one_percent(results)
    rows = []
    for run in runs:
        reached, size = run["reached"], run["size"]
        draws = f"{reached['draws']}, " if reached else ""
        ended = f"{run['seconds']:.1f} s" if "seconds" in run else ""
        is_helped = run.get("has_control_variates", False)
        rows.append(
            [
                "split, marginalised" + (", control variates" if is_helped else ""),
                f"{size['num_train']}, {size['width']}, {size['num_chains']}",
                f"{reached['seconds']:.1f} s" if reached else "not reached",
                ended if run.get("converged", True) else f"{ended}, not converged",
                f"{run['first_report']:.1f} s",
                draws + str(run["num_samples"]),
                f"{run['gradients']:.2e}" if reached else "",
                f"{run['rhat']:.3f}",
                *(_estimate(run["measured"][quantity]) for quantity in ("bias2", "variance")),
            ]
        )
    extrapolated, measured = results.get("langevin_extrapolated"), results.get("langevin")
    last = runs[-1]
    if extrapolated is not None:
        hours = "" if extrapolated["hours"] is None else _duration(3600 * extrapolated["hours"])
        mixing = f"{extrapolated['from_rhat']:.3f} in part b"
        gradients = f"{extrapolated['gradients']:.2e}"
        if last["reached"]:
            gradients += f" (×{extrapolated['gradients'] / last['gradients']:.3g})"
        rows.append(["langevin, **extrapolated**", rows[-1][1], hours, "", "", "", gradients,
                     mixing, "", ""])  # fmt: skip
    if measured is not None:
        gradients = max(measured["gradients_to_one_percent"].values())
        seconds = max(measured["seconds_to_one_percent"].values())
        rows.append(
            ["langevin, measured", rows[-1][1], _duration(seconds), "", "", "",
             f"{gradients:.2e}", f"{measured['rhat']:.3f}",
             *(_estimate(measured["measured"][quantity]) for quantity in ("bias2", "variance"))]
        )  # fmt: skip
    return head, rows


def _growth(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["P, N_1, N_0, chains", "r", "`langevin`, ms a step", "MiB",
            "marginalised split, ms a gradient", "MiB, both"]  # fmt: skip
    rows = [
        [
            ", ".join(str(row["size"][axis]) for axis in SYMBOLS),
            str(row["rank"]),
            *(cell for name in ("langevin", "split") for cell in _cost(row.get(name))),
        ]
        for row in results
    ]
    return head, rows


def _cost(cost: dict[str, float] | None) -> tuple[str, str]:
    if cost is None:
        return "", ""
    return f"{1e3 * cost['seconds']:.3g}", f"{cost['bytes'] / 2**20:.0f}"


def _compilation(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["sampler", "first report after", "again", "programs compiled", "again",
            "seconds in the compiler", "again"]  # fmt: skip
    rows = []
    for row in results:
        calls = [row["first"], row["again"]]
        cells = [f"{call['first_report']:.2f} s" for call in calls]
        cells += [str(call["programs"]) for call in calls]
        cells += [f"{call['compile_seconds']:.2f}" for call in calls]
        rows.append([row["sampler"], *cells])
    return head, rows


def _factorisations(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["operation", "matrices", "size", "one by one, ms", "batched, ms"]
    rows = [
        [
            row["operation"], str(row["matrices"]), str(row["size"]),
            _interval(row["one_by_one"], 1e3),
            _interval(row["batched"], 1e3) if "batched" in row else "not on a CPU",
        ]
        for row in results
    ]  # fmt: skip
    return head, rows


def _sweep(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["points", "s a point", "of the processor", "`--status`, s", "`report`, s", "start, s"]
    names = ["wall_seconds_a_point", "processor_seconds_a_point", "status_seconds",
             "report_seconds", "start_seconds"]  # fmt: skip
    return head, [[str(results["points"]), *(f"{results[name]:.2f}" for name in names)]]


def _sweep_to_one_percent(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["executor", "programs", "s", "points converged", "largest error", "s of sampling"]
    rows = [
        [
            row["executor"],
            "compiled" if row["attempt"] == "first" else "there",
            f"{row['seconds']:.0f}",
            f"{row['converged']} of {row['points']}",
            f"{row['largest_error']:.2%}",
            f"{row['sampling_seconds']:.0f}",
        ]
        for row in results
    ]
    return head, rows


def _scale(results: Any) -> tuple[list[str], list[list[str]]]:
    head = ["on", "cores", "ms", "times", "largest difference"]
    rows = [
        [
            f"{row['devices']} devices", str(row["cores"] or ""), _interval(row["seconds"], 1e3),
            _interval(row["times"], 1), f"{row['difference']:.1e}",
        ]
        for row in results["over_devices"]
    ]  # fmt: skip
    rows += [
        [f"{row['points']} points", "", _interval(row["seconds"], 1e3), _interval(row["times"], 1),
         ""]
        for row in results["side_by_side"]
    ]  # fmt: skip
    return head, rows


def _interval(spread: dict[str, float], unit: float) -> str:
    """The median as text, with the smallest and the largest in brackets."""
    return f"{unit * spread['median']:.3g} ({unit * spread['min']:.3g}–{unit * spread['max']:.3g})"


def _pair(values: dict[str, float], seconds: float) -> str:
    return f"{values['min'] / seconds:.3g}, {values['median'] / seconds:.3g}"


def _estimate(value: dict[str, float]) -> str:
    return f"{value['value']:.5f} ± {value['mcse']:.5f}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
