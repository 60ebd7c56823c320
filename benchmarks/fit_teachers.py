"""Set the simulated teachers' sensitivity and invention so that their finding tuples come near the published Figure 1a.

Precision and recall are those of the tuples (concept, side) that a teacher states against the tuples the report states;
both are known from the grammar, so no extractor takes part. The values found are a setting of the simulator, nothing is
learned from them about the real teachers. Other random worlds than the one used here must land within .05 as well.

    python -m benchmarks.fit_teachers [--tiny] [--write]
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from cxr_max.synth import decide, labels, profiles, reports, teachers
from cxr_max.synth.concepts import concepts, index
from cxr_max.synth.config import WorldConfig, validate
from cxr_max.synth.world import World, make_world

PUBLISHED = {
    "sonnet-4": (0.35, 0.42), "gemini-2.5": (0.35, 0.45), "glm-4.5v": (0.31, 0.39), "gpt-5": (0.35, 0.54),
    "qwen-vl-max": (0.47, 0.33), "grok-4": (0.56, 0.21), "moonshot": (0.27, 0.36),
}  # fmt: skip
"""Precision and recall read off the published bar chart (reading error about .01)."""
FILE = Path(profiles.__file__).with_name("profiles.toml")


def reference_codes(world: World, seed: int) -> tuple[Any, list[tuple[str, ...]]]:
    """[I, C] side codes that the reports state (present or uncertain), and what the prompts name, per shown image."""
    rng = Random(seed)
    codes = np.full((len(world.study_id), len(concepts())), -1)
    named = []
    sides = {None: 0, "left": 1, "right": 2}
    for s in range(len(codes)):
        report = reports.write_report(world, s, rng)
        named.append(labels.diseases(labels.chexpert(report, str(world.flag[s])), rng))
        for row in report.rows:
            if row[5] != "absent" and row[4] != "No Finding":
                i, side = index()[row[3]], sides[row[6]]
                codes[s, i] = side if codes[s, i] < 0 else codes[s, i] | side
    study = world.image_study[world.instance]
    return codes[study], [named[s] for s in study]


def measure(world: World, codes: Any, named: list[tuple[str, ...]], people: dict[str, Any]) -> dict[str, Any]:
    """Mean precision and recall of every teacher over the images where each is defined."""
    errors = teachers.draw_errors(world, named, people, seed=(5,), correlation=0.5, step_drift=0.0, generations=1)
    said = decide.stated(decide.decide(world, errors, people))[:, 0]
    p, r = decide.precision_recall(said, np.broadcast_to(codes[:, None], said.shape))
    return {t: (float(np.nanmean(p[:, k])), float(np.nanmean(r[:, k]))) for k, t in enumerate(people)}


def fit(world: World, codes: Any, named: list[tuple[str, ...]], rounds: int) -> dict[str, Any]:
    """Alternate bisection: recall by sensitivity, precision by invention, all teachers at once on the same draws."""
    people = dict(profiles.profiles())
    for _ in range(rounds):
        for field, which, sign in (("sensitivity", 1, 1.0), ("invention", 0, -1.0)):
            low, high = dict.fromkeys(people, -6.0), dict.fromkeys(people, 5.0)
            for _ in range(9):
                middle = {t: (low[t] + high[t]) / 2 for t in people}
                people = {t: replace(p, **{field: middle[t]}) for t, p in people.items()}
                found = measure(world, codes, named, people)
                for t in people:
                    below = (found[t][which] - PUBLISHED[t][which]) * sign < 0
                    (low if below else high)[t] = middle[t]
    rounded = {t: (round(p.sensitivity, 2), round(p.invention, 2)) for t, p in people.items()}
    return {t: replace(people[t], sensitivity=a, invention=b) for t, (a, b) in rounded.items()}


def main() -> None:
    """Fit, print the table, and store the values when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="few patients, one round, nothing written")
    parser.add_argument("--write", action="store_true", help="store the values in the package")
    options = parser.parse_args()
    world = make_world(validate(WorldConfig(instances=300 if options.tiny else 4000, seed=20_000)))
    codes, named = reference_codes(world, 1)
    people = fit(world, codes, named, 1 if options.tiny else 5)
    found = measure(world, codes, named, people)
    print(f"{'teacher':12} {'P':>6} {'goal':>6} {'R':>6} {'goal':>6}  sensitivity invention")
    for t, (p, r) in found.items():
        (goal_p, goal_r), who = PUBLISHED[t], people[t]
        print(f"{t:12} {p:6.3f} {goal_p:6.2f} {r:6.3f} {goal_r:6.2f}  {who.sensitivity:11} {who.invention:9}")
    if options.write and not options.tiny:
        _store(people)


def _store(people: dict[str, Any]) -> None:
    text = FILE.read_text(encoding="utf-8")
    for t, profile in people.items():
        head = re.search(rf'^\["?{re.escape(t)}"?\]$', text, re.MULTILINE)
        assert head is not None
        before, after = text[: head.end()], text[head.end() :]
        for name in ("sensitivity", "invention"):
            after = re.sub(rf"^{name} = .*$", f"{name} = {getattr(profile, name)}", after, count=1, flags=re.MULTILINE)
        text = before + after
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
