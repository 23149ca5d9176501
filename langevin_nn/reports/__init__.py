"""Pages for people: a sweep or a run as one HTML file that needs nothing beside it."""
