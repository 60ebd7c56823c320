"""The benchmark: rows are data, the plan is a list of jobs, a job leaves one result file, tables come from those."""

from cxr_max.plugins import lazy

_NAMES = {
    "BenchConfig": "config",
    "Design": "config",
    "Endpoint": "config",
    "configure": "config",
    "plan": "planning",
    "commands": "planning",
    "run": "running",
    "shares": "config",
    "some_teachers": "config",
    "summarise": "tables",
}

__getattr__, __dir__ = lazy(__name__, _NAMES)
