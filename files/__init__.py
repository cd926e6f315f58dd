"""What every room may use: atomic results, JSON lines, errors for users, the terminal, progress, hints, extras."""
