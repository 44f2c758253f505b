"""The mean of several trained weights of one network, which of runs that began alike is often better than any of them.

    python scripts/mean_weights.py mean.weights.h5 first.weights.h5 second.weights.h5 [...] [--backbone NAME]

The files are those of --save-checkpoint, of the same data sets. The mean's batch norm is not quite right, nor its int8
faithful, until a few hundred batches more on the same photos: `python -m export --init mean.weights.h5 --steps 400
--rate 1e-4`. The idea: Wortsman et al., Model soups (arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).parent.parent))

from calibration.photos import DataError  # noqa: E402
from export import model  # noqa: E402


def mean(networks: list[keras.Model]) -> keras.Model:
    """Fill the first of `networks`, all of one architecture, with the mean of them all, and return it."""
    networks[0].set_weights([sum(arrays) / len(networks) for arrays in zip(*(network.get_weights() for network in networks))])
    return networks[0]


def seen_by_all(files: list[Path]) -> dict[str, list[str]]:
    """What the mean has seen: what each of them has. Raises DataError where they held out other photos."""
    first, *others = (model.seen_by(str(path)) for path in files)
    for path, seen in zip(files[1:], others):
        if seen != first:
            raise DataError(f"{path} learned from other photos than {files[0]}, or with others held out; give weights of the "
                            "same --data, or nobody could say which photos the mean has never seen")
    return first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help=".weights.h5 to write")
    parser.add_argument("files", type=Path, nargs="+", help=".weights.h5")
    parser.add_argument("--backbone", choices=model.BACKBONES, default=model.BACKBONE)
    options = parser.parse_args()
    try:
        seen = seen_by_all(options.files)
        networks = [model.build(options.backbone, str(path)) for path in options.files]
    except (DataError, OSError, ValueError) as error:
        print(f"mean_weights: {error}", file=sys.stderr)
        return 2
    model.keep(mean(networks), options.target, seen)
    print(options.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
