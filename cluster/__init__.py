"""A run, or many, in several processes and on several machines.

Rooms: roles (one process each), learning (parts of the learner), messages (what they
exchange), accounts (the learner's bookkeeping), supervision (processes that are watched and
restarted), sweeps (many runs), doctor (checks of a machine). Called by scripts/; imports training/
and what it imports.
"""
