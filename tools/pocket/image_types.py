"""Names for foreign classes in annotations whose own types cannot be checked."""

from typing import Any

Vae = Any
"""An `AutoencoderKL`."""

Unet = Any
"""A `UNet2DConditionModel`."""

TextEncoder = Any
"""A `CLIPTextModel`; its `to` is wrapped in a way that hides the device argument."""

PooledTextEncoder = Any
"""A `CLIPTextModelWithProjection`."""

Scheduler = Any
"""An `EulerDiscreteScheduler`."""

SdxlPipeline = Any
"""A `StableDiffusionXLPipeline`."""
