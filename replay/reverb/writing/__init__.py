"""From an actor's steps to items in the server's table: trajectories, journal, writer."""
