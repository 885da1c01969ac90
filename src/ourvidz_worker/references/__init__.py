"""Reference images: fetched under guard, checked before they are decoded.

`references.fetch` (URLs) is loaded apart, because it brings the network library with it.
"""

from ourvidz_worker.references.references import FetchUrl, References, Store
from ourvidz_worker.references.stored import Patience

__all__ = ["FetchUrl", "Patience", "References", "Store"]
