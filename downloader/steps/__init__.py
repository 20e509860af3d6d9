"""Steps of scene graphs that come with the program: one module each, started by the graph engine in a process of its own."""
