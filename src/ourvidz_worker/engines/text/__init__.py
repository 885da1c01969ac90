"""Text engines: token ids in, token ids out."""

from ourvidz_worker.engines.text.base import Footprint, TextEngine, Token, Tokens, TokenStream

__all__ = ["Footprint", "TextEngine", "Token", "TokenStream", "Tokens"]
