"""Building and pushing the Hub repositories."""
