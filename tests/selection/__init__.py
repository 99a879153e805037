"""Which rule of the checkpoint is the most stable over seeds."""
