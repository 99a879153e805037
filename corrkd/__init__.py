"""CorrKD: the networks, the three losses and the method."""
