"""A run of the services out of their image: not part of the test suite, as building an image takes minutes."""
