"""What every room may use: atomic results, progress, hints."""
