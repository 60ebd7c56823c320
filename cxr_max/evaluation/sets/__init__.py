"""Readers of the public evaluation sets, from local files as their publishers ship them: labels, and where images lie.

Each gives a Polars frame with one row an image (or study): `image` (file name), `patient`, and one column of 1, 0 or
null a class. Columns are found by header, never by position; a missing column is an error that names file and column.
"""
