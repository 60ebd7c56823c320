"""Synthetic sentences and what each extractor's own output for them looks like."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from cxr_max.schema import FINDINGS

NORMAL = "Heart size normal and lungs are clear. No edema or pneumonia. No effusion"
EFFUSIONS = (
    "1. Left pleural effusion with adjacent atelectasis. Right effusion is also present. "
    "2. Cardiomegaly without overt edema."
)
LINGULA = "Minimal patchy airspace disease within the lingula, may reflect atelectasis or consolidation."
CARDIOMEGALY = "1. Stable mild cardiomegaly. 2. Hyperexpanded but clear lungs."
LINE = "Right PICC line in place."
EMPHYSEMA = "Emphysema."
GENERIC = "Atelectasis refers to partial collapse of the lung. Common causes include infection and heart failure."
SHIFT = "The mediastinum is shifted to the right. A pacemaker is present; no evidence of lead dislodgement."

LABELS: dict[str, dict[str, int]] = {
    NORMAL: {"No Finding": 1, "Cardiomegaly": 0, "Edema": 0, "Pneumonia": 0, "Pleural Effusion": 0},
    EFFUSIONS: {"Pleural Effusion": 1, "Atelectasis": 1, "Cardiomegaly": 1, "Edema": 0},
    LINGULA: {"Lung Opacity": 1, "Atelectasis": -1, "Consolidation": -1},
    CARDIOMEGALY: {"Cardiomegaly": 1},
    LINE: {"Support Devices": 1, "No Finding": 1},
    EMPHYSEMA: {},
    GENERIC: {"No Finding": 1},
    SHIFT: {"Support Devices": 1},
}
"""The labels of each sample, blanks left out."""

Row = tuple[str, str, str, str | None]
SAID: dict[str, list[Row]] = {
    NORMAL: [
        ("Heart size", "cardiomegaly", "absent", None), ("edema", "edema", "absent", None),
        ("pneumonia", "pneumonia", "absent", None), ("effusion", "pleural_effusion", "absent", None),
    ],
    EFFUSIONS: [
        ("pleural effusion", "pleural_effusion", "present", "left"), ("atelectasis", "atelectasis", "present", "left"),
        ("Right effusion", "pleural_effusion", "present", "right"), ("Cardiomegaly", "cardiomegaly", "present", None),
        ("edema", "edema", "absent", None),
    ],
    LINGULA: [
        ("airspace disease", "lung_opacity", "present", "left"), ("atelectasis", "atelectasis", "uncertain", "left"),
        ("consolidation", "consolidation", "uncertain", "left"),
    ],
    CARDIOMEGALY: [
        ("cardiomegaly", "cardiomegaly", "present", None), ("Hyperexpanded", "hyperinflation", "present", None),
    ],
    LINE: [("PICC line", "central_line", "present", "right")],
    EMPHYSEMA: [("Emphysema", "emphysema", "present", None)],
    GENERIC: [],
    SHIFT: [
        ("mediastinum is shifted", "mediastinal_shift", "present", None), ("pacemaker", "pacemaker", "present", None),
    ],
}  # fmt: skip
"""Quote, concept, status and side of every finding, as a careful reader would list them."""


def write_csv(path: Path, text_column: str) -> Path:
    """A labeler's output: CheXpert's with `Reports`, CheXbert's with `Report Impression` (No Finding last)."""
    names = [n for n in FINDINGS if n != "No Finding"]
    names = ["No Finding", *names] if text_column == "Reports" else [*reversed(names), "No Finding"]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([text_column, *names])
        for text, labels in LABELS.items():
            out.writerow([text, *(f"{labels[n]:.1f}" if n in labels else "" for n in names)])
    return path


def write_radgraph(path: Path, scheme: str) -> Path:
    """RadGraph annotations of the samples, one observation per finding, sides as anatomy it is located at."""
    names = {"present": "OBS-DP", "uncertain": "OBS-U", "absent": "OBS-DA"}
    anatomy = "ANAT-DP"
    if scheme == "xl":
        kinds = {"present": "definitely present", "uncertain": "uncertain", "absent": "definitely absent"}
        names = {k: f"Observation::{v}" for k, v in kinds.items()}
        anatomy = "Anatomy::definitely present"
    graphs: dict[str, Any] = {}
    for number, (text, rows) in enumerate(SAID.items()):
        spaced = text.replace(".", " .").replace(",", " ,").replace(";", " ;")
        tokens = spaced.split()
        entities: dict[str, Any] = {}
        for quote, concept, status, side in rows:
            words = _observation(concept, quote).split()
            first = next(i for i in range(len(tokens)) if [t.lower() for t in tokens[i : i + len(words)]] == words)
            if str(first) in entities:
                first = next(i for i in range(first + 1, len(tokens)) if tokens[i].lower() == words[0])
            relations = []
            if side:
                entities[f"{first}-side"] = {
                    "tokens": side, "label": anatomy, "start_ix": first, "end_ix": first, "relations": [],
                }  # fmt: skip
                relations = [["located_at", f"{first}-side"]]
            said = "enlarged heart" if concept == "cardiomegaly" else " ".join(words)
            entities[str(first)] = {
                "tokens": said, "label": names[status], "start_ix": first, "end_ix": first + len(words) - 1,
                "relations": relations,
            }  # fmt: skip
        graphs[f"{number}.txt"] = {"text": spaced, "entities": entities, "data_source": None, "data_split": "inference"}
    path.write_text(json.dumps(graphs), encoding="utf-8")
    return path


def _observation(concept: str, quote: str) -> str:
    return {"Heart size": "heart size", "Right effusion": "effusion"}.get(quote, quote.lower())


@contextmanager
def llm_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A loopback server with recorded answers in the OpenAI format; gives its base URL and the requests it got."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, **request})
            status, content = _recorded(request["messages"][-1]["content"])
            body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://192.0.2.1/v1/chat/completions")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _recorded(text: str) -> tuple[int, str]:
    if text.startswith("Premises:"):
        premises, hypothesis = text.split("\nHypothesis: ")
        listed = premises.splitlines()[1:]
        verdict = "entail" if f"- {hypothesis}" in listed else "neutral"
        if hypothesis.startswith("present") and f"- {hypothesis.replace('present', 'absent')}" in listed:
            verdict = "contradict"
        return 200, f'{{"verdict": "{verdict}"}}'
    if text.startswith("broken:"):
        kind = text.removeprefix("broken:").strip()
        answers = {
            "words": (200, "I see an effusion."), "list": (200, '{"findings": 3}'), "error": (500, "{}"),
            "concept": (200, '{"findings": [{"quote": "x", "concept": "dragon", "status": "present"}]}'),
            "redirect": (302, "{}"), "verdict": (200, "{}"),
        }  # fmt: skip
        return answers[kind]
    rows = [{"quote": q, "concept": c, "status": s, "side": side, "zone": None} for q, c, s, side in SAID[text]]
    return 200, "Here you are:\n```json\n" + json.dumps({"findings": rows}) + "\n```"
