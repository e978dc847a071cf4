"""What a run records and shows: CSV files, events, progress, stage times."""
