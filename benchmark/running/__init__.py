"""How a number is made: the grid, training, evaluation, cells on disk, and who computes them."""
