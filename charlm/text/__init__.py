"""From characters to batches: tokenizers, reading and splitting a corpus, and cutting it for training."""
