"""What the numbers say: collecting, statistics, resampling, comparisons."""
