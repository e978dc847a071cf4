"""What is done to an agent's training to keep it plastic, one file each (`interventions`).

base.py has the contract and the places in an update. Called by agents/; imports plasticity/ and
core/.
"""
