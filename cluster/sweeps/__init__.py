"""Many runs, some at a time; a sweep continues where it stopped."""
