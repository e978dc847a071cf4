"""A Reverb server's replay without TensorFlow: its tables, and how it is reached and marked.

Rooms: wire (the protocol), server (the process, in an environment of its own), writing (what actors
do), sampling (what the learner does). Called by cluster/; imports core/ and replay/base.py.
"""
