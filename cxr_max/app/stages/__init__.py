"""The stages of the demo, one file each: `run(config)` does it and returns what the summary page shows of it."""
