"""ourvidz-worker: pure chat, image and video workers that share one GPU."""

__version__ = "0.1.0"
