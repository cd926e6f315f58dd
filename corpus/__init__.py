"""Work on records: split, statistics, validation, exports, showing a dialogue."""
