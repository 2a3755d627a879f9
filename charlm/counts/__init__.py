"""An n-gram model of a text: counting, probabilities, lookups, files."""
