"""Images from wherever they lie, in batches, in an order that never changes."""

from normstats.inputs.images.batches import Images, fingerprint_of
from normstats.inputs.images.opening import open_images

__all__ = ["Images", "fingerprint_of", "open_images"]
