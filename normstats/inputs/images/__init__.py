"""Images from wherever they lie, in batches, in an order that never changes."""

from normstats.inputs.images.batches import Images
from normstats.inputs.images.opening import open_images

__all__ = ["Images", "open_images"]
