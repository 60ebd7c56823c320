"""What stands on top of everything else: the demo of the main job."""

from cxr_max.plugins import lazy

__getattr__, __dir__ = lazy(__name__, {})
