"""Many runs, a few at a time; a sweep continues where it stopped."""
