"""What the source documents claim, how each claim is tested, and the verdict on committed numbers.

Called by scripts/claim.py. `catalogue` has the claims of all `sources`, `experiments` the runs that
test them, `evidence` what is kept of the runs, `rules` what follows from it, `page` docs/claims.md.
"""
