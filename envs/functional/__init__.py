"""Environments as pure functions of arrays, which a training loop can be compiled together with.

`contract.py` says what one consists of; `vector.py` makes it an environment like any other. The
environments themselves are modules of envs/ with a function `dynamics`. Called by envs/ and
training/; imports core/ and envs/base.py.
"""
