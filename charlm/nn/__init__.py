"""The mathematics: parameters, layers with forward and backward side by side, loss, optimizers. No files, no text."""
