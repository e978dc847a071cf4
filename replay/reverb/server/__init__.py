"""The replay server's process. Runs in the environment of dm-reverb, where there is no JAX."""
