"""deployctl, the person's tool.

Note [A verb is two files]
~~~~~~~~~~~~~~~~~~~~~~~~~~
A person waits for deployctl to start, and Twisted alone takes a fifth of a second to import. So the files that declare
verbs (``deploy.py``, ``ports.py``, ...) import click and the model only; what talks to a daemon (``deploying.py``,
``cluster.py``, ...) is imported inside the verb, once its options are known to be right.
"""
