"""GitSources: fetching, building and applying in the background of the engine."""
