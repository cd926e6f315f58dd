"""The records of the corpus: reading, checks, split, statistics, exports, showing a dialogue."""
