"""The page of this folder: every figure of `results/` that has a row in `page.toml`, with where it was measured.

    python -m benchmarks.page            write benchmarks/README.md
    python -m benchmarks.page --check    exit 1 when it is not what the results say

A benchmark that writes its result writes the page, too (`benchmarks.common.write`).
"""

import argparse
import json
import operator
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE, ROWS, RESULTS = HERE / "README.md", HERE / "page.toml", HERE / "results"
_COMPARED = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

HEAD = """<!-- written by `python -m benchmarks.page`; do not edit -->
# Benchmarks

`make bench` runs them all, `python -m benchmarks.NAME` one, `--tiny` shows in seconds that one runs. Each runs in a
process of its own and both sides of a comparison run in the same process conditions, on synthetic worlds or on data
that registry packages ship. Figures in brackets are 95 % intervals. "Asked" is what the project set itself before
measuring; what was missed stands here like what was reached.
"""


def results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Name -> result file, sorted by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def lookup(figures: Mapping[str, Any], path: Sequence[str | int]) -> Any:
    """The figure at a path of keys and, in lists, positions; None when the result has none there."""
    found: Any = figures
    for key in path:
        if isinstance(found, list) and isinstance(key, int):
            found = found[key] if key < len(found) else None
        else:
            found = found.get(key) if isinstance(found, Mapping) else None
    return found


def value(row: Mapping[str, Any], figures: Mapping[str, Any]) -> list[float] | None:
    """A row's figure, alone or with the ends of its interval; None when the result does not hold it."""
    found = lookup(figures, row["figure"])
    if isinstance(found, Mapping) and {"value", "low", "high"} <= found.keys():
        found = [found["value"], found["low"], found["high"]]
    if found is None or (isinstance(found, list) and None in found):
        return None
    numbers = [float(v) for v in found] if isinstance(found, list) else [float(found)]
    if "over" in row:
        below = lookup(figures, row["over"])
        return [n / below for n in numbers] if below else None
    return numbers


def reached(asked: str, numbers: Sequence[float]) -> bool:
    """Whether a figure is what was asked: the whole interval where it is `> 0`, else the figure itself."""
    sign, _, bound = asked.partition(" ")
    tried = numbers[1:2] if asked == "> 0" and len(numbers) > 1 else numbers[:1]
    return all(_COMPARED[sign](round(n, 4), float(bound)) for n in tried)


def shown(numbers: Sequence[float]) -> str:
    """Three significant digits, the interval in brackets."""
    first, *rest = [_digits(n) for n in numbers]
    return f"{first} [{', '.join(rest)}]" if rest else first


def _digits(number: float) -> str:
    if number == int(number) or abs(number) >= 100:
        return f"{number:,.0f}"
    return re.sub(r"^(-?)0\.", r"\1.", f"{number:.3g}" if abs(number) >= 0.1 else f"{number:.3f}")


def table(every: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of figures as Markdown lines; rows without a figure are left out."""
    lines = ["| what | figure | against | asked | | benchmark |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        numbers = value(row, every.get(row["result"], {}).get("figures", {}))
        if numbers is None:
            continue
        asked = row.get("asked", "")
        verdict = ("reached" if reached(asked, numbers) else "**missed**") if asked else ""
        cells = (row["what"], shown(numbers), row.get("peer", ""), asked, verdict, f"`{row['result']}`")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def sources(every: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where each result was measured, as Markdown lines."""
    lines = ["| benchmark | commit | date | load | machine | versions |", "| --- | --- | --- | --- | --- | --- |"]
    for name, result in every.items():
        on, load = result["machine"], result.get("load_at_start")
        peers = [v for v in _versions(result["figures"]) if v]
        versions = [f"{n} {v}" for n, v in result["versions"].items()]
        lexicon = result["figures"].get("lexicon_version")
        versions += [f"lexicon {lexicon}"] if lexicon else []
        commit = _commits(result) + (" with changes" if result["modified"] else "")
        state = "not recorded" if load is None else f"{load:.1f} ({'idle' if load < 0.5 * on['cores'] else 'loaded'})"
        if load is not None and len(_of_cases(result)) > 1:
            state += " for the last cases, not recorded for the others"
        machine = f"{on['cores']} cores, {on['memory_gib']:.0f} GiB, {on['processor']}, Python {on['python']}"
        shown_versions = ", ".join(dict.fromkeys(versions + peers))
        lines.append(f"| `{name}` | {commit} | {result['date']} | {state} | {machine} | {shown_versions} |")
    return lines


def _of_cases(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """Commit -> the cases that were measured at it, for a result whose cases were run one by one."""
    found: dict[str, list[str]] = {}
    for name, case in (result["figures"].get("cases") or {}).items():
        if isinstance(case, Mapping) and "commit" in case:
            found.setdefault(case["commit"], []).append(name)
    return found


def _commits(result: Mapping[str, Any]) -> str:
    """The commit of a result, or each commit with its cases where they have several."""
    cases = _of_cases(result)
    if len(cases) < 2:
        return f"`{result['commit']}`"
    return ", ".join(f"`{commit}` ({', '.join(names)})" for commit, names in cases.items())


def _versions(figures: Mapping[str, Any]) -> list[str]:
    """Versions of peers that ran in environments of their own, wherever a result keeps them."""
    found = []
    for key, inner in figures.items():
        if key == "versions" and isinstance(inner, Mapping):
            found += [f"{n} {v}" for n, v in inner.items()]
        elif key == "peer_versions" and isinstance(inner, Mapping):
            found += [f"{n} {v}" for peers in inner.values() for n, v in peers.items()]
        elif isinstance(inner, Mapping):
            found += _versions(inner)
    return found


def render(folder: Path = RESULTS) -> str:
    """The whole page."""
    every = results(folder)
    rows = tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]
    named = {row["result"] for row in rows}
    more = [name for name in every if name not in named]
    rest = [f"Without a row above: {', '.join(f'`{n}`' for n in more)}; their figures stand in `results/`.", ""]
    return "\n".join(
        [HEAD, "## Figures", "", *table(every, rows), "", *(rest if more else []),
         "## Where they were measured", "",
         "Load is the machine's one-minute average before the benchmark began; below half its cores it counts as idle.",
         "", *sources(every), ""]
    )  # fmt: skip


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when the page is out of date")
    parser.add_argument("--tiny", action="store_true", help="as --check")
    args = parser.parse_args()
    page = render()
    if not args.check and not args.tiny:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit("benchmarks/README.md is not what the results say: python -m benchmarks.page")


if __name__ == "__main__":
    main()
