"""First weights from another network against random ones, at equal steps.

Run: `python benchmarks/inheritance.py --data clothing_216.tar [--donor mobilenet_v2_0.35_96] [--network
mobilenet_v2_0.5_96 ...] [--donor-epochs 6] [--epochs 2] [--seeds 3] [--recipe modern]`

A donor is trained once for every seed. Then each network is trained twice by the same recipe, from random weights and
from the donor's, and evaluated on the test images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from mnv2search.recipe import load_recipe
from mnv2search.results.training import TrainingReport
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec


def main() -> None:
    """Train donors and networks, and print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--donor", default="mobilenet_v2_0.35_96")
    parser.add_argument("--network", nargs="+", default=["mobilenet_v2_0.5_96"])
    parser.add_argument("--donor-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="modern")
    arguments = parser.parse_args()

    def trained(name: str, epochs: int, seed: int, folder: Path, donor: Path | None = None) -> TrainingReport:
        request = TrainingRequest(
            spec=load_spec(name),
            data=arguments.data,
            folder=folder,
            recipe=load_recipe(arguments.recipe),
            epochs=epochs,
            seed=seed,
            weights=donor,
        )
        return train_spec(request)

    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arguments.network}
    with tempfile.TemporaryDirectory() as root:
        for seed in range(arguments.seeds):
            folder = Path(root) / str(seed)
            donor = trained(arguments.donor, arguments.donor_epochs, seed, folder / "donor")
            print(
                f"seed {seed}: donor {arguments.donor}, {donor.trained.steps} steps, {donor.test.main.value:.1%}",
                flush=True,
            )
            for name in arguments.network:
                alone = trained(name, arguments.epochs, seed, folder / f"{name}-alone")
                heir = trained(name, arguments.epochs, seed, folder / f"{name}-heir", folder / "donor" / "best.pt")
                assert heir.inheritance is not None
                found[name].append((alone.test.main.value, heir.test.main.value, heir.inheritance.share))
    print(
        f"\ntop-1 on the test images after {arguments.epochs} epochs, mean and deviation of {arguments.seeds} seeds\n"
    )
    print("| network | from random weights | from the donor's | parameters inherited |\n|---|---|---|---|")
    for name, rows in found.items():
        alone_mean, heir_mean, share = np.mean(rows, axis=0)
        alone_sd, heir_sd, _ = np.std(rows, axis=0)
        print(
            f"| {name} | {alone_mean:.1%} ± {alone_sd:.1%} | {heir_mean:.1%} ± {heir_sd:.1%} | {share:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
