"""The demo: a page where a visitor's dialogue, pictures or video tell who is who. Needs the extra `space`."""
