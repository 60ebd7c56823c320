"""CXR-MAX for `datasets` before version 4, which still loads scripts.

    pip install cxr-max "datasets<4"
    load_dataset("loading_script/cxr-max.py", "trajectories", release="path/to/release", trust_remote_code=True)

A shim: the builder, its options (`release`, `mimic_root`) and its private cache are those of the package. With the
package installed `import cxr_max` does the same without a script, and with every version of `datasets` from 3.6 on.
"""

from cxr_max.data import builder


class CxrMax(builder.CxrMax):
    """The package's builder under the name `datasets` looks for."""
