"""A method, a row and a task for cxr-max in a package of their own."""

from importlib.resources import files

ROW = files(__name__) / "drifting_steps.toml"
