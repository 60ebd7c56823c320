"""Run every benchmark of this folder: `python -m benchmarks.run [--tiny] [NAME ...]`.

A benchmark is a module with `main(tiny: bool) -> None` that writes `benchmarks/results/<name>.json`; at tiny size it
proves that it runs and writes nothing there.
"""

import argparse
import importlib
import pkgutil
import time

import benchmarks

NOT_BENCHMARKS = ("run", "common", "peer_env")


def names() -> list[str]:
    """Names of all benchmarks, sorted."""
    found = (m.name for m in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(n for n in found if n not in NOT_BENCHMARKS and not n.startswith("_"))


def main() -> None:
    """Run the benchmarks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="which ones; all when none is named")
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that they run")
    args = parser.parse_args()
    for name in args.names or names():
        begun = time.monotonic()
        importlib.import_module(f"benchmarks.{name}").main(tiny=args.tiny)
        print(f"{name}: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
