"""What a run writes down and shows: CSV files, events, progress, times of stages."""
