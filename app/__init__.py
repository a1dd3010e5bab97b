"""The service.

structlog loads rich, and with it pygments, for tracebacks in colours that `app/log.py` does not show: it is not to be
found while structlog is loaded, which spares each process a tenth of its start.
"""

import importlib
import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    importlib.import_module("structlog")
    del sys.modules["rich"]
