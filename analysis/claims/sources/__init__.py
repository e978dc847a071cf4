"""What each source document claims, by the name of its subject; put together by `catalogue`.

A claim names the experiment that tests it and the rule of that experiment's protocol.
"""
