"""Names for foreign classes in annotations whose own types cannot be checked."""

from typing import Any

WanVae = Any
"""An `AutoencoderKLWan`."""

PlainTransformer = Any
"""A `WanTransformer3DModel`."""

TextEncoder = Any
"""A `UMT5EncoderModel`; its `to` is wrapped in a way that hides the device argument."""

VaceTransformer = Any
"""A `WanVACETransformer3DModel`."""
