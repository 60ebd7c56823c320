"""The drift report as one self-contained page: figures, tables, verdict and methods from a report's plain data."""
