"""The runs that test claims, by what they train; `registry` has all of them by name.

An experiment trains what is missing, by scripts.sweep, and returns the scores. It knows no claim.
"""
