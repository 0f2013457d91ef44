"""Contracts as files of the Open Data Contract Standard (ODCS) v3.1.0, https://bitol-io.github.io/open-data-contract-standard/.

`export_odcs` writes contracts as YAML; `import_odcs` turns such a file into the Python that declares them.
"""

from headrace.contracts.odcs.export import export_odcs
from headrace.contracts.odcs.source import import_odcs

__all__ = ["export_odcs", "import_odcs"]
