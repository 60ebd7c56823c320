"""Run every benchmark of this folder: `python -m benchmarks.run [--tiny] [NAME ...]`.

A benchmark is a module that `python -m benchmarks.NAME [--tiny]` runs and that writes `benchmarks/results/NAME.json`;
at tiny size it proves that it runs and writes nothing there. Each runs in a process of its own, so that its peak memory
is its own.
"""

import argparse
import pkgutil
import subprocess
import sys
import time

import benchmarks

NOT_BENCHMARKS = ("run", "common", "peer_env", "page")
TOOLS = ("blind_images", "fit_teachers", "synthetic_captioner", "synthetic_difficulty", "synthetic_world")
"""They make a reading test and set profiles: run at tiny size to show that they work, never by a full run."""


def names(*, tiny: bool) -> list[str]:
    """Names of all benchmarks, sorted; at tiny size also of the tools."""
    left_out = NOT_BENCHMARKS if tiny else (*NOT_BENCHMARKS, *TOOLS)
    found = (m.name for m in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(n for n in found if n not in left_out and not n.startswith("_"))


def main() -> None:
    """Run the benchmarks that are named, or all of them; exit 1 when one fails, after all have run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which ones; all when none is named")
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that they run")
    args = parser.parse_args()
    failed = []
    for name in args.names or names(tiny=args.tiny):
        begun = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--tiny"] if args.tiny else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE if args.tiny else None, check=False)
        failed += [name] if done.returncode else []
        print(f"{name}: {'FAILED' if done.returncode else 'ran'}, {time.monotonic() - begun:.1f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
