"""A model applied to dialogues."""
