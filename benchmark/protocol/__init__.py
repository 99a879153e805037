"""What a number means: settings and masks, the contract of a method, the training protocol, metrics."""
