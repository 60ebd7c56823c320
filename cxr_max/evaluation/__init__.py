"""Evaluation: run a model once, grade its stored outputs many times, compare with intervals and paired tests."""

from cxr_max.plugins import lazy

_NAMES = {
    "CompareConfig": "comparing",
    "Context": "types",
    "EvalConfig": "running",
    "GradeConfig": "grading",
    "as_evaluate": "hub",
    "compare": "comparing",
    "grade": "grading",
    "parse_answer": "answers",
    "parse_model_args": "predictors",
    "parse_task_args": "tasks",
    "run": "running",
}

__getattr__, __dir__ = lazy(__name__, _NAMES)
