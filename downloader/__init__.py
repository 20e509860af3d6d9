"""The worker that fetches a scene from a provider, runs the scene graph for each of its tiles and stores what it makes."""
