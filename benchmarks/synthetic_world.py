"""The world and the release that the synthetic benchmark runs on.

    python -m benchmarks.synthetic_world --out bench-world [--error-correlation 0.5] [--subjects 1000] [--tiny]

Its difficulty is the stored one (`cxr_max/recipes/synthetic_bench.toml`). One world an error correlation: 0.5 for the
main table; 0, 0.25 and 0.75 for the curve. Finished folders are left as they are.
"""

import argparse
import json
import tempfile
from pathlib import Path

from cxr_max import data, synth
from cxr_max.recipes import synthetic_bench


def make(out: Path, config: synth.WorldConfig) -> Path:
    """Write world and release into a folder, unless they are there; returns the release."""
    if not (out / "world" / "truth" / "states.parquet").is_file():
        synth.write_world(config, out / "world")
    if not (out / "release" / "manifest.json").is_file():
        data.build([out / "world" / "raw"], out / "release")
    return out / "release"


def main() -> None:
    """Make one world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--error-correlation", type=float, default=0.5)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        subjects = 6 if args.tiny else args.subjects
        chosen = synthetic_bench.world(subjects=subjects, error_correlation=args.error_correlation, seed=args.seed)
        release = make(out, chosen)
        manifest = data.open_release(release).manifest
        print(
            json.dumps(
                {"release": manifest["version"], "counts": manifest["counts"].get("split"), "kept": bool(args.out)}
            )
        )


if __name__ == "__main__":
    main()
