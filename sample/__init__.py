"""The embedded default: a small synthetic corpus with pictures, generated from a seed."""

from .writing import Dialogue, attribute_words, make_dialogues, write_sample

__all__ = ["Dialogue", "attribute_words", "make_dialogues", "write_sample"]
