"""The stages of the demo, one file each: `run(config)` does it and returns the line that names what to open."""
