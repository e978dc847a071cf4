"""Used by every room, and uses none of them: settings, plug-ins, types, durable files.

Called by all. Imports nothing of the project, and JAX only where a type needs it.
"""
